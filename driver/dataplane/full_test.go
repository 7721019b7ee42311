package dataplane_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/overlay"
)

// full makes a network of two containers and fills its bridge up with other ports.
func full(t *testing.T) (h *host, with func(ports ...overlay.Port) overlay.NetworkConfig) {
	t.Helper()
	h = newHosts(t, 1)[0]
	with = func(ports ...overlay.Port) overlay.NetworkConfig {
		return overlay.NetworkConfig{
			ID: "net1", VNI: 4097, MTU: 1450, Guarded: true, Ports: ports, Gone: []netip.Addr{ip("10.9.0.99")},
		}
	}
	h.cfg.Networks = []overlay.NetworkConfig{with(port("net1", "a", "10.9.0.1/24"), port("net1", "b", "10.9.0.2/24"))}
	h.set()
	var fill strings.Builder
	for i := range overlay.MostPorts - 2 {
		fmt.Fprintf(&fill, "link add x%d master %s type veth peer name y%d\n", i, overlay.Bridge, i)
	}
	batch := filepath.Join(t.TempDir(), "fill")
	if err := os.WriteFile(batch, []byte(fill.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, ok := runHere("nsenter", "--net="+h.path("net1"), "ip", "-batch", batch); !ok {
		t.Fatal(out)
	}
	return h, with
}

// bridged are the links that are ports of the network's bridge.
func (h *host) bridged(network string) map[string]bool {
	h.tb.Helper()
	ports := map[string]bool{}
	h.netlink(network, func(nl *netlink.Handle) error {
		list, err := nl.LinkList()
		for _, l := range list {
			if l.Attrs().MasterIndex != 0 {
				ports[l.Attrs().Name] = true
			}
		}
		return err
	})
	return ports
}

// The kernel's bridge has the ports that weft counts on, and none more.
func TestABridgeHasAsManyPortsAsWeftSays(t *testing.T) {
	h, _ := full(t)
	if n := len(h.bridged("net1")); n != overlay.BridgePorts {
		t.Errorf("the bridge has %d ports", n)
	}
	out, ok := runHere("nsenter", "--net="+h.path("net1"), "ip", "link", "add", "one-more", "master", overlay.Bridge, "type", "veth")
	if ok {
		t.Error("the bridge takes one port more than weft says")
	}
	t.Log(out)
}

// On a full bridge, a container that comes in the pass in which another one goes gets the
// port that this one had.
func TestAFullBridgeHasAPortForWhoeverComesAsAnotherGoes(t *testing.T) {
	h, with := full(t)
	comes := port("net1", "c", "10.9.0.3/24")
	h.cfg.Networks = []overlay.NetworkConfig{with(port("net1", "b", "10.9.0.2/24"), comes)}
	h.set()
	ports := h.bridged("net1")
	if !ports[overlay.PortLink(comes.Endpoint)] || !ports[overlay.VXLAN] || !ports[overlay.RefusePort] || len(ports) != overlay.BridgePorts {
		t.Errorf("the bridge has %d ports", len(ports))
	}
	if r := h.verify(); r.Repairs != 0 {
		t.Errorf("drift: %q", r.Repaired)
	}
}
