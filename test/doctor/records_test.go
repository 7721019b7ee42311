package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/test/lab/labtest"
)

var recordFaults = []fault{
	{
		check: "promises", how: "a network's record has an option that weft has refused since", says: []string{`"old"`, "encrypted"},
		breaks: madeOld,
	},
	{
		check: "fixed-mtu", how: "a route to the other host takes less than a network's own MTU needs", says: []string{`"large"`, "1450", "1350"},
		breaks: tooSmall,
	},
	{
		check: "records", how: "Consul has a folder of its UI's and a network's record that is not one", says: []string{"consul kv delete weft/host/", "consul kv delete weft/net/oops"},
		breaks: func(t *testing.T) func() {
			raw(t, http.MethodPut, "host/", nil)
			record(t, http.MethodPut, "net/oops", "x")
			return func() { // as the findings say
				raw(t, http.MethodDelete, "host/", nil)
				raw(t, http.MethodDelete, "net/oops", nil)
			}
		},
	},
	{
		check: "addresses", how: "the store has a host's record with the address of a container elsewhere", says: []string{`"twin" on host h9`, `"box" on host h1`, demo},
		breaks: func(t *testing.T) func() {
			id := network(t).ID
			address := sh(t, "h1", "docker inspect -f '{{.NetworkSettings.Networks."+demo+".IPAddress}}' box")
			attached := record(t, http.MethodPut, "at/h9/"+id, map[string]any{
				"network": id, "host": "h9", "inc": "twin",
				"endpoints": []any{map[string]any{"id": "twin", "mac": "02:00:5e:00:53:01", "addrs": []string{address}, "name": "twin"}},
			})
			sum := sha256.Sum256(attached)
			host := map[string]any{
				"name": "h9", "inc": "twin", "vtep": "198.51.100.99", "port": 4789, "mtu": 1500, "version": "twin",
				"digests": map[string]string{id: hex.EncodeToString(sum[:6])},
			}
			record(t, http.MethodPut, "host/h9/doc", host)
			labtest.Eventually(t, 5*time.Second, "h1 knows what h9 has", func() error { // before it takes h9 for down
				for _, on := range ask[[]control.NetworkDetail](t, "h1", "network", "inspect", demo)[0].On {
					if on.Host == "h9" && len(on.Endpoints) > 0 {
						return nil
					}
				}
				return errors.New("it does not yet")
			})
			return func() {
				host["left"], host["digests"] = true, map[string]string{}
				record(t, http.MethodPut, "host/h9/doc", host)
				record(t, http.MethodDelete, "at/h9/"+id, nil)
			}
		},
	},
}

// madeOld breaks by a network of which the record has an option that weft has
// refused since.
func madeOld(t *testing.T) func() {
	docker(t, "h1", "network", "create", "-d", "weft", "--ipam-driver", "weft", "old")
	labtest.Mirrored(t, 10*time.Second, "old", cluster.Host("h2"))
	old := ask[[]control.NetworkDetail](t, "h1", "network", "inspect", "old")[0].Record
	old.Options, old.Version = map[string]string{"encrypted": ""}, old.Version+1
	record(t, http.MethodPut, "net/"+old.ID, old)
	return commands("h1", "true", "docker network rm old")(t)
}

// tooSmall breaks by a network with an MTU of its own, and a route that takes less.
func tooSmall(t *testing.T) func() {
	docker(t, "h1", "network", "create", "-d", "weft", "--ipam-driver", "weft", "-o", "com.docker.network.driver.mtu=1450", "large")
	to := cluster.Host("h2").Addr().String()
	return commands("h1", "ip route add "+to+" dev eth0 mtu 1400", "ip route del "+to+" dev eth0 mtu 1400; docker network rm large")(t)
}

// record changes a record of weft's in the lab's Consul as none of weft's hosts
// would, and gives its new text.
func record(t *testing.T, method, key string, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	raw(t, method, key, text)
	return text
}

func raw(t *testing.T, method, key string, value []byte) {
	t.Helper()
	if _, err := cluster.Consul(1).Request(context.WithoutCancel(t.Context()), method, "/v1/kv/weft/"+key, value); err != nil {
		t.Fatalf("%s %s: %v", method, key, err)
	}
}
