package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// asked has Docker ask for a network with one option, and gives its answer.
func asked(t *testing.T, h http.Handler, docker string, options map[string]string) (int, string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"NetworkID": docker, "Options": map[string]any{"com.docker.network.generic": options},
		"IPv4Data": []any{map[string]any{"AddressSpace": "weft", "Pool": "10.9.0.0/16"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := call(t, h, "NetworkDriver.CreateNetwork", string(body))
	text, _ := answer["Err"].(string)
	return status, text
}

func pool(t *testing.T, h http.Handler, options string) {
	t.Helper()
	if status, answer := call(t, h, "IpamDriver.RequestPool", `{"AddressSpace":"weft","Pool":"10.9.0.0/16","Options":`+options+`}`); status != http.StatusOK {
		t.Fatal(answer)
	}
}

func TestPromisesThatAreNotKeptAreRefused(t *testing.T) {
	h, r, _ := recorded(t)
	pool(t, h, "{}")
	for _, o := range [][2]string{
		{"encrypted", ""},
		{"encrypted", "true"},
		{"encrypted", "1"},
		{"weft.encrypted", "true"},
		{"com.docker.network.bridge.enable_icc", "false"},
		{"parent", "eth0"},
		{"ipvlan_mode", "l3"},
		{"com.docker.network.container_iface_prefix", "a/b"},
	} {
		status, text := asked(t, h, "d1", map[string]string{o[0]: o[1]})
		if want := fmt.Sprintf("option %s=%q is refused: ", o[0], o[1]); status == http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%v: %d %q, want %q", o, status, text, want)
		}
		if v := r.Inventory(); len(v.Live) > 0 || len(v.Docker) > 0 {
			t.Fatalf("%v: recorded %v %v", o, v.Live, v.Docker)
		}
	}
	if status, text := asked(t, h, "d1", map[string]string{"encrypted": "false"}); status != http.StatusOK {
		t.Errorf("encryption that nobody asks for: %s", text)
	}
}

func TestIgnoredOptionsAreToldOnce(t *testing.T) {
	h, _, log := recorded(t)
	pool(t, h, "{}")
	if status, text := asked(t, h, "d1", map[string]string{"com.docker.network.bridge.name": "br-shop"}); status != http.StatusOK {
		t.Fatal(text)
	}
	told := 0
	for _, e := range log.AllEntries() {
		if e.Level == logrus.WarnLevel && e.Data["option"] == "com.docker.network.bridge.name" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestANetworkWithAnOldPromiseIsMirrored(t *testing.T) {
	promise := map[string]string{"encrypted": "", "com.docker.network.driver.mtu": "9000"}
	h, r, _ := recorded(t)
	pool(t, h, `{"weft.id":"lab"}`)
	// As a weft that took every option has recorded it.
	if _, err := r.Create(t.Context(), "d0", overlay.Network{
		ID: "lab", MTU: 9000, Options: promise, Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("10.9.0.0/16")}},
	}); err != nil {
		t.Fatal(err)
	}
	// With a name it stays when a host's Docker does not have it any more.
	if err := r.Name(t.Context(), "lab", registry.Naming{Name: "lab"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Detach(t.Context(), "d0"); err != nil {
		t.Fatal(err)
	}
	if status, text := asked(t, h, "d1", map[string]string{"weft.id": "lab", "parent": "eth0"}); status == http.StatusOK || !strings.Contains(text, "parent") {
		t.Errorf("a person who joins it with a promise of another kind: %d %s", status, text)
	}
	done := r.Mirroring("lab")
	status, text := asked(t, h, "d1", map[string]string{"weft.id": "lab", "encrypted": "", "com.docker.network.driver.mtu": "9000", "parent": "eth0"})
	done()
	if status != http.StatusOK {
		t.Errorf("mirrored: %s", text)
	}
	if err := r.Detach(t.Context(), "d1"); err != nil {
		t.Fatal(err)
	}
	if status, text := asked(t, h, "d2", map[string]string{"weft.id": "lab", "encrypted": "", "com.docker.network.driver.mtu": "9000"}); status != http.StatusOK {
		t.Errorf("joined by a person with the options that it has: %s", text)
	}
}

func TestEndpointsTakeNoOptionThatIsNotKept(t *testing.T) {
	h, r, _ := recorded(t)
	pool(t, h, "{}")
	if status, text := asked(t, h, "d1", map[string]string{"com.docker.network.container_iface_prefix": "lan"}); status != http.StatusOK {
		t.Fatal(text)
	}
	create := func(options string) (int, string) {
		status, answer := call(t, h, "NetworkDriver.CreateEndpoint", `{"NetworkID":"d1","EndpointID":"e1","Interface":{"Address":"10.9.0.5/16"},"Options":{`+options+`}}`)
		text, _ := answer["Err"].(string)
		return status, text
	}
	for _, o := range []string{`"my.opt":"v"`, `"com.docker.network.endpoint.ifname":"foo0"`, `"com.docker.network.endpoint.else":""`} {
		status, text := create(o)
		key := strings.Trim(strings.SplitN(o, ":", 2)[0], `"`)
		if status == http.StatusOK || !strings.Contains(text, "option "+key+"=") || !strings.Contains(text, "leave it out") {
			t.Errorf("%s: %d %q", o, status, text)
		}
		if _, known := r.Endpoint("e1"); known {
			t.Fatalf("%s: the endpoint is recorded", o)
		}
	}
	if status, text := create(`"com.docker.network.endpoint.dnsservers":["9.9.9.9"],"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],` +
		`"com.docker.network.portmap":[],"com.docker.network.endpoint.macaddress":"AgAAAAB3","com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.log_martians=1"`); status != http.StatusOK {
		t.Errorf("what Docker sends: %s", text)
	}
	_, answer := call(t, h, "NetworkDriver.Join", `{"NetworkID":"d1","EndpointID":"e1","SandboxKey":"/run/x","Options":{}}`)
	if name, _ := answer["InterfaceName"].(map[string]any); name["DstPrefix"] != "lan" {
		t.Errorf("joined with %v, want an interface lan0", answer)
	}
}
