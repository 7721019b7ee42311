package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/ipam/stock"
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
	return recordedOn(tb, still{})
}

// recordedOn is recorded with some kernel.
func recordedOn(tb testing.TB, kernel driver.Kernel) (http.Handler, *registry.Registry, *test.Hook) {
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
	a, err := ipam.Open(tb.Context(), ipam.Config{Host: "h1", Incarnation: "i", Cluster: cluster, State: state, Networks: r.Claims(), ULA: r.Keyring().ULA, Stock: stock.Default, Log: log})
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
	driver.New("weft", r, kernel, a, func() string { return "" }, log).Register(s)
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

// hung is a kernel that never comes to an end, once told to hang. It knows with what
// endpoints it was asked.
type hung struct {
	records func() overlay.Snapshot
	hangs   bool
	phases  []overlay.Phase
}

func (h *hung) Sync(ctx context.Context, _ string) error {
	for _, e := range h.records().Local {
		h.phases = append(h.phases, e.Phase)
	}
	if !h.hangs {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// What comes for a container is refused before Docker takes its link, and Docker
// waits for that only a moment.
func TestLeaveWaitsForAPass(t *testing.T) {
	kernel := &hung{}
	h, r, _ := recordedOn(t, kernel)
	kernel.records = r.Snapshot
	network := `"NetworkID":"` + strings.Repeat("a", 64) + `"`
	endpoint := network + `,"EndpointID":"` + strings.Repeat("b", 64) + `"`
	ask := func(method, body string) map[string]any {
		code, answer := call(t, h, method, body)
		if code != http.StatusOK {
			t.Fatalf("%s: %v", method, answer)
		}
		return answer
	}
	ask("IpamDriver.RequestPool", `{"AddressSpace":"weft","Pool":"10.9.0.0/16"}`)
	gateway := ask("IpamDriver.RequestAddress", `{"PoolID":"10.9.0.0/16","Options":{"RequestAddressType":"com.docker.network.gateway"}}`)["Address"].(string)
	ask("NetworkDriver.CreateNetwork", `{`+network+`,"IPv4Data":[{"AddressSpace":"weft","Gateway":"`+gateway+`","Pool":"10.9.0.0/16"}]}`)
	address := ask("IpamDriver.RequestAddress", `{"PoolID":"10.9.0.0/16"}`)["Address"].(string)
	ask("NetworkDriver.CreateEndpoint", `{`+endpoint+`,"Interface":{"Address":"`+address+`"}}`)
	ask("NetworkDriver.Join", `{`+endpoint+`,"SandboxKey":"/var/run/docker/netns/x"}`)
	kernel.hangs = true
	began := time.Now()
	ask("NetworkDriver.Leave", `{`+endpoint+`}`)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Docker waited %v", took)
	}
	if want := []overlay.Phase{overlay.Joined, overlay.Left}; !slices.Equal(kernel.phases, want) {
		t.Errorf("passes saw the endpoint %v, want %v", kernel.phases, want)
	}
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
