package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kvstore/bolt"
)

// still is a kernel that is always as it should be.
type still struct{}

func (still) Sync(context.Context, string) error { return nil }

// protocol is both drivers on real records, without a kernel.
func protocol(tb testing.TB) http.Handler {
	tb.Helper()
	h, _, _ := recorded(tb)
	return h
}

// recorded is protocol with the records and the log.
func recorded(tb testing.TB) (http.Handler, *registry.Registry, *test.Hook) {
	tb.Helper()
	log, told := test.NewNullLogger()
	open := func(name string) *bolt.Store {
		s, err := bolt.Open(filepath.Join(tb.TempDir(), name))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = s.Close() })
		return s
	}
	cluster, state := open("cluster.db"), open("state.db")
	r, err := registry.Open(tb.Context(), registry.Config{
		Self:    overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789, MTU: 1500},
		Cluster: cluster, State: state, Log: log,
	})
	if err != nil {
		tb.Fatal(err)
	}
	a, err := ipam.Open(tb.Context(), ipam.Config{Host: "h1", Incarnation: "i", Cluster: cluster, State: state, Networks: r, ULA: r.ULA, Stock: ipam.DefaultStock, Log: log})
	if err != nil {
		tb.Fatal(err)
	}
	r.SetAddresses(a)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // it begins the store's epoch, in which networks are recorded
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	s := plugin.NewServer(log, nil)
	driver.New("weft", r, still{}, a, func() string { return "" }, log).Register(s)
	ipam.NewDriver(a, log).Register(s)
	return s, r, told
}

// call gives the status and the answer, which must be JSON, and must have an
// error in both fields if and only if the status is one.
func call(tb testing.TB, h http.Handler, method, body string) (int, map[string]any) {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), http.MethodPost, "/"+method, strings.NewReader(body)))
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		tb.Fatalf("%s %s: answer %q: %v", method, body, w.Body, err)
	}
	text, _ := answer["Err"].(string)
	if (w.Code != http.StatusOK) != (text != "") || strings.Contains(text, "failed inside weft") {
		tb.Fatalf("%s %s: %d %q", method, body, w.Code, text)
	}
	return w.Code, answer
}

// A container's whole life as Docker tells it, every call twice.
func TestEveryCallTwice(t *testing.T) {
	h := protocol(t)
	network := `"NetworkID":"` + strings.Repeat("a", 64) + `"`
	endpoint := network + `,"EndpointID":"` + strings.Repeat("b", 64) + `"`
	var address string
	for _, step := range []struct {
		method, body string
		once         bool // a repeat asks for another pool or address
	}{
		{"Plugin.Activate", "", false},
		{"NetworkDriver.GetCapabilities", "", false},
		{"IpamDriver.GetCapabilities", "", false},
		{"IpamDriver.GetDefaultAddressSpaces", "", false},
		{"IpamDriver.RequestPool", `{"AddressSpace":"weft","Pool":"10.9.0.0/16","SubPool":"10.9.3.0/24","Options":{"io":"iv"}}`, true},
		{"IpamDriver.RequestAddress", `{"PoolID":"10.9.0.0/16,10.9.3.0/24","Address":"","Options":{"RequestAddressType":"com.docker.network.gateway"}}`, false},
		{"NetworkDriver.CreateNetwork", `{` + network + `,"Options":{"com.docker.network.generic":{"k":"v"}},"IPv4Data":[{"AddressSpace":"weft","Gateway":"GATEWAY","Pool":"10.9.0.0/16"}],"IPv6Data":[]}`, false},
		{"IpamDriver.RequestAddress", `{"PoolID":"10.9.0.0/16,10.9.3.0/24","Address":"","Options":null}`, true},
		{"NetworkDriver.CreateEndpoint", `{` + endpoint + `,"Interface":{"Address":"ADDRESS"},"Options":{}}`, false},
		{"NetworkDriver.Join", `{` + endpoint + `,"SandboxKey":"/run/x","Options":{}}`, false},
		{"NetworkDriver.EndpointOperInfo", `{` + endpoint + `}`, false},
		{"NetworkDriver.ProgramExternalConnectivity", `{` + endpoint + `,"Options":{}}`, false},
		{"NetworkDriver.RevokeExternalConnectivity", `{` + endpoint + `}`, false},
		{"NetworkDriver.Leave", `{` + endpoint + `}`, false},
		{"NetworkDriver.DeleteEndpoint", `{` + endpoint + `}`, false},
		{"IpamDriver.ReleaseAddress", `{"PoolID":"10.9.0.0/16,10.9.3.0/24","Address":"ADDRESS"}`, false},
		{"IpamDriver.ReleasePool", `{"PoolID":"10.9.0.0/16,10.9.3.0/24"}`, false},
		{"NetworkDriver.DeleteNetwork", `{` + network + `}`, false},
	} {
		body := strings.NewReplacer("ADDRESS", address, "GATEWAY", address).Replace(step.body)
		status, first := call(t, h, step.method, body)
		if status != http.StatusOK {
			t.Fatalf("%s %s: %v", step.method, body, first)
		}
		if a, ok := first["Address"].(string); ok {
			address = a
		}
		if step.once {
			continue
		}
		if again, second := call(t, h, step.method, body); again != status || len(second) != len(first) {
			t.Errorf("%s again: %d %v, first %v", step.method, again, second, first)
		}
	}
}

// Whatever comes to whichever method is answered with JSON, and breaks nothing.
func FuzzCalls(f *testing.F) {
	methods := []string{
		"NetworkDriver.CreateNetwork", "NetworkDriver.DeleteNetwork", "NetworkDriver.AllocateNetwork", "NetworkDriver.FreeNetwork",
		"NetworkDriver.CreateEndpoint", "NetworkDriver.DeleteEndpoint", "NetworkDriver.EndpointOperInfo", "NetworkDriver.Join",
		"NetworkDriver.Leave", "NetworkDriver.DiscoverNew", "NetworkDriver.DiscoverDelete",
		"NetworkDriver.ProgramExternalConnectivity", "NetworkDriver.RevokeExternalConnectivity",
		"IpamDriver.RequestPool", "IpamDriver.ReleasePool", "IpamDriver.RequestAddress", "IpamDriver.ReleaseAddress",
	}
	for _, body := range []string{
		"", "{", "[]", "null", `{"NetworkID":"n","Options":{"com.docker.network.generic":{"weft.vni":"5"}},"IPv4Data":[null]}`,
		`{"NetworkID":"n","IPv4Data":[{"Pool":"10.1.0.0/16","Gateway":"x","AuxAddresses":{"a":5}}]}`,
		`{"AddressSpace":"weft","Pool":"10.1.0.0/16","SubPool":"10.1.1.0/24","Options":{"weft.id":"x"},"V6":true}`,
		`{"PoolID":"10.1.0.0/16","Address":"10.1.0.5","Options":{"RequestAddressType":"com.docker.network.gateway"}}`,
		`{"NetworkID":"n","EndpointID":"e","Interface":{"Address":"10.1.0.5/16","MacAddress":"xx"}}`,
	} {
		for i := range methods {
			f.Add(uint8(i), body)
		}
	}
	h := protocol(f)
	f.Fuzz(func(t *testing.T, method uint8, body string) {
		call(t, h, methods[int(method)%len(methods)], body)
	})
}
