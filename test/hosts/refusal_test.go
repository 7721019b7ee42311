package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// state is all that a refusal must leave as it was: what Docker lists on each
// host, and the cluster's records.
func state(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, h := range cluster.Hosts() {
		fmt.Fprintln(&out, docker(t, h.Name(), "network", "ls", "--no-trunc"))
	}
	keys, err := cluster.Consul(1).Request(t.Context(), http.MethodGet, "/v1/kv/weft/?keys", nil)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(keys, &list); err != nil {
		t.Fatal(err)
	}
	for _, key := range list {
		if !strings.HasPrefix(key, "weft/addr/") { // stock comes and goes
			fmt.Fprintln(&out, key)
		}
	}
	return out.String()
}

func TestBadNetworks(t *testing.T) {
	n := network(t, "h1", "--subnet", "10.70.0.0/16", "-o", "weft.vni=7070")
	mirrored(t, "h2", n)
	mirrored(t, "h3", n)
	before := state(t)
	create := func(args ...string) []string {
		return append(append([]string{"network", "create", "-d", "weft", "--ipam-driver", "weft"}, args...), name(t, "bad"))
	}
	tests := []struct {
		name  string
		args  []string
		words []string
	}{
		{"Docker's own IPAM", []string{"network", "create", "-d", "weft", "--subnet", "10.71.0.0/16", name(t, "bad")}, []string{"10.71.0.0/16", "--ipam-driver weft"}},
		{"an overlapping subnet", create("--subnet", "10.70.8.0/24"), []string{"10.70.8.0/24", "overlaps", "10.70.0.0/16", n}},
		{"the same subnet", create("--subnet", "10.70.0.0/16"), []string{"overlaps", n}},
		{"a larger subnet", create("--subnet", "10.64.0.0/10"), []string{"overlaps", n}},
		{"host bits", create("--subnet", "10.71.0.5/16"), []string{"10.71.0.0/16"}},
		{"a gateway outside", create("--subnet", "10.71.0.0/16", "--gateway", "10.72.0.1"), []string{"10.72.0.1"}},
		{"a range outside", create("--subnet", "10.71.0.0/16", "--ip-range", "10.72.0.0/24"), []string{"10.72.0.0/24"}},
		{"an aux address outside", create("--subnet", "10.71.0.0/16", "--aux-address", "a=10.72.0.1"), []string{"10.72.0.1"}},
		{"an unknown option", create("-o", "weft.speed=9"), []string{"weft.speed", "unknown"}},
		{"a malformed option", create("-o", "weft.vni=many"), []string{"weft.vni", "many", "1 to 16777213"}},
		{"a VNI that is taken", create("-o", "weft.vni=7070"), []string{"VNI 7070", n, "h1"}},
		{"an MTU beyond the underlay", create("-o", "com.docker.network.driver.mtu=1500"), []string{"1500", "1450"}},
		{"a small MTU", create("-o", "com.docker.network.driver.mtu=68"), []string{"68", "1280"}},
		{"encryption", create("-o", "encrypted"), []string{`option encrypted="" is refused`, "cannot encrypt", "WireGuard"}},
		{"encryption by a value", create("-o", "encrypted=1"), []string{`option encrypted="1" is refused`, "WireGuard"}},
		{"encryption by weft's name", create("-o", "weft.encrypted=true"), []string{"weft.encrypted", "WireGuard"}},
		{"isolation of containers", create("-o", "com.docker.network.bridge.enable_icc=false"), []string{"enable_icc", "networks of their own"}},
		{"a parent", create("-o", "parent=eth0"), []string{"parent", "macvlan"}},
		{"a mode that is not there", create("-o", "weft.mode=carrier-pigeon"), []string{"weft.mode", "overlay"}},
		{"an unknown IPAM option", create("--ipam-opt", "weft.what=1"), []string{"weft.what"}},
		{"an id that nobody knows", create("-o", "weft.id=0123456789ab"), []string{"0123456789ab"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refused(t, "h2", tt.words, tt.args...) })
	}
	eventually(t, 15*time.Second, "nothing has changed", func() error {
		if after := state(t); after != before {
			return fmt.Errorf("state was\n%s\nand is\n%s", before, after)
		}
		return nil
	})
}

func TestBadAddresses(t *testing.T) {
	// The range keeps the hosts' stocks off the chosen address.
	n := network(t, "h1", "--subnet", "10.73.0.0/24", "--ip-range", "10.73.0.128/25", "--aux-address", "nas=10.73.0.9")
	mirrored(t, "h2", n)
	b := container(t, "h1", n, "--ip", "10.73.0.20")
	eventually(t, 5*time.Second, "h2 knows the address's owner", func() error {
		out, err := cluster.Host("h2").Run(t.Context(), "weft", "endpoint", "ls", "--network", n)
		if err == nil && !strings.Contains(out, b.Name) {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	for _, tt := range []struct {
		address string
		words   []string
	}{
		{"10.73.0.20", []string{"10.73.0.20", "in use", b.Name, "h1"}},
		{"10.74.0.1", []string{"10.74.0.1"}},
		{"10.73.0.1", []string{"10.73.0.1", "gateway"}},
		{"10.73.0.9", []string{"10.73.0.9"}},
		{"10.73.0.0", []string{"10.73.0.0"}},
		{"10.73.0.255", []string{"10.73.0.255"}},
	} {
		t.Run(tt.address, func(t *testing.T) {
			refused(t, "h2", tt.words, "run", "--rm", "--network", n, "--ip", tt.address, "busybox", "true")
		})
	}
	mac := b.exec("cat", "/sys/class/net/eth0/address")
	_, err := cluster.Host("h2").Run(t.Context(), debianDocker, "run", "--rm", "--network", n, "--mac-address", mac, "busybox", "true")
	if err == nil || !strings.Contains(err.Error(), "MAC address "+mac+" is taken") {
		t.Errorf("a MAC that is taken: %v", err)
	}
	container(t, "h2", n).pings("10.73.0.20")
}

// methods are all of the protocol that take arguments.
var methods = []string{
	"NetworkDriver.CreateNetwork", "NetworkDriver.DeleteNetwork", "NetworkDriver.AllocateNetwork", "NetworkDriver.FreeNetwork",
	"NetworkDriver.CreateEndpoint", "NetworkDriver.DeleteEndpoint", "NetworkDriver.EndpointOperInfo", "NetworkDriver.Join",
	"NetworkDriver.Leave", "NetworkDriver.DiscoverNew", "NetworkDriver.DiscoverDelete",
	"NetworkDriver.ProgramExternalConnectivity", "NetworkDriver.RevokeExternalConnectivity",
	"IpamDriver.RequestPool", "IpamDriver.ReleasePool", "IpamDriver.RequestAddress", "IpamDriver.ReleaseAddress",
}

// post calls a method on the host's plugin socket as Docker does.
func post(ctx context.Context, host, method, body string) (int, string, error) {
	socket := cluster.Host(host).Path("/run/docker/plugins/weft.sock")
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin/"+method, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(bytes.TrimSpace(b)), err
}

func TestBadCalls(t *testing.T) {
	before := state(t)
	bodies := map[string]string{
		"empty":       "",
		"truncated":   `{"NetworkID":"abc`,
		"huge":        `{"NetworkID":"` + strings.Repeat("x", 2<<20) + `"}`,
		"a list":      `[1,2]`,
		"wrong types": `{"NetworkID":5,"EndpointID":{},"PoolID":[],"Pool":1,"DiscoveryType":"x"}`,
	}
	for _, method := range methods {
		for kind, body := range bodies {
			status, answer, err := post(t.Context(), "h1", method, body)
			if err != nil || status != http.StatusBadRequest || !strings.Contains(answer, `"Err":"`+method) {
				t.Errorf("%s with %s body: %d %.200s %v", method, kind, status, answer, err)
			}
		}
	}
	// Ids that nobody knows: what removes is content, what makes refuses.
	content := map[string]bool{
		"NetworkDriver.DeleteNetwork": true, "NetworkDriver.DeleteEndpoint": true, "NetworkDriver.Leave": true,
		"NetworkDriver.AllocateNetwork": true, "NetworkDriver.FreeNetwork": true,
		"NetworkDriver.DiscoverNew": true, "NetworkDriver.DiscoverDelete": true,
		"NetworkDriver.ProgramExternalConnectivity": true, "NetworkDriver.RevokeExternalConnectivity": true,
		"IpamDriver.ReleasePool": true, "IpamDriver.ReleaseAddress": true,
	}
	body := `{"NetworkID":"nobody","EndpointID":"nobody","SandboxKey":"/nowhere","PoolID":"10.250.0.0/24","Address":"10.250.0.5"}`
	for _, method := range methods {
		status, answer, err := post(t.Context(), "h1", method, body)
		if err != nil || (status == http.StatusOK) != content[method] {
			t.Errorf("%s with unknown ids: %d %s %v", method, status, answer, err)
		}
	}
	if after := state(t); after != before {
		t.Errorf("state was\n%s\nand is\n%s", before, after)
	}
}

func TestBadStarts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		code  string
		words []string
	}{
		{"a store that cannot be parsed", []string{"--store", "etcd://x"}, "exit status 2", []string{"--store", "etcd://x", "consul://"}},
		{"an interface that is not there", []string{"--advertise", "eth77", "--name", "other", "--state-dir", "/run/other"}, "exit status 2", []string{"eth77"}},
		{"an address of another host", []string{"--advertise", "203.0.113.77", "--name", "other", "--state-dir", "/run/other"}, "exit status 2", []string{"203.0.113.77"}},
		{"an unknown flag", []string{"--speed", "9"}, "exit status 2", []string{"--speed"}},
		{"a bad pool", []string{"--pool", "10.0.0.0/8"}, "exit status 2", []string{"--pool", "size"}},
		{"a second weft", nil, "exit status 1", []string{"weft.sock", "running already"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"weft", "serve", "--store", "consul://" + cluster.Consul(1).Addr().String(), "--control", "unix:///run/other.sock"}, tt.args...)
			out, err := cluster.Host("h1").Run(t.Context(), args...)
			if err == nil || !strings.Contains(err.Error(), tt.code) {
				t.Fatalf("got %q, %v, want %s", out, err, tt.code)
			}
			for _, word := range tt.words {
				if !strings.Contains(err.Error()+out, word) {
					t.Errorf("want %q in %q", word, err.Error()+out)
				}
			}
		})
	}
}
