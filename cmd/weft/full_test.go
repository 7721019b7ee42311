package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
)

// The container for which a bridge has no port is refused in one sentence, at the call that
// begins docker run and docker network connect.
func TestAFullBridgeIsRefusedInOneSentence(t *testing.T) {
	h, r, _ := recorded(t)
	network := `"NetworkID":"` + strings.Repeat("a", 64) + `"`
	endpoint := network + `,"EndpointID":"` + strings.Repeat("b", 64) + `"`
	call(t, h, "IpamDriver.RequestPool", `{"AddressSpace":"weft","Pool":"10.9.0.0/16"}`)
	_, answer := call(t, h, "IpamDriver.RequestAddress", `{"PoolID":"10.9.0.0/16","Options":{"RequestAddressType":"com.docker.network.gateway"}}`)
	if code, answer := call(t, h, "NetworkDriver.CreateNetwork", `{`+network+`,"IPv4Data":[{"AddressSpace":"weft","Gateway":"`+answer["Address"].(string)+`","Pool":"10.9.0.0/16"}]}`); code != http.StatusOK {
		t.Fatal(answer)
	}
	n, _ := r.OfDocker(strings.Repeat("a", 64))
	var last overlay.Endpoint
	for i := range overlay.MostPorts {
		a := netip.AddrFrom4([4]byte{10, 9, byte(100 + i>>8), byte(i)})
		last = overlay.Endpoint{ID: fmt.Sprint("e", i), Network: n.ID, Addrs: []netip.Addr{a}, MAC: overlay.MACOf(n.ID, a)}
		if err := r.Adopt(t.Context(), last); err != nil {
			t.Fatal(err)
		}
	}
	_, answer = call(t, h, "IpamDriver.RequestAddress", `{"PoolID":"10.9.0.0/16"}`)
	body := `{` + endpoint + `,"Interface":{"Address":"` + answer["Address"].(string) + `"}}`
	_, answer = call(t, h, "NetworkDriver.CreateEndpoint", body)
	want := fmt.Sprintf(`create endpoint in network %q: it has 1021 containers on host h1 already, and a bridge of Linux has no port for one more: start the container on another host, or take one out of the network on this host first`, n.Title())
	if answer["Err"] != want {
		t.Errorf("refused with\n%v, want\n%s", answer["Err"], want)
	}
	if _, known := r.Endpoint(strings.Repeat("b", 64)); known {
		t.Error("the refused endpoint is recorded")
	}
	if err := r.DeleteEndpoint(t.Context(), last.ID); err != nil {
		t.Fatal(err)
	}
	if code, answer := call(t, h, "NetworkDriver.CreateEndpoint", body); code != http.StatusOK {
		t.Errorf("refused although there is a port: %v", answer)
	}
}
