package dataplane_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
)

// states are Configs that follow one another in any order.
func states() map[string]overlay.Config {
	const a, b = "alpha", "beta"
	p1, p2, p3 := port(a, "1", "10.1.0.1/24", "fd01::1/64"), port(a, "2", "10.1.0.2/24"), port(b, "3", "10.2.0.1/24")
	r1 := overlay.Remote{MAC: overlay.MACOf(a, ip("10.1.0.9")), VTEP: ip("192.0.2.9"), Addrs: []netip.Addr{ip("10.1.0.9"), ip("fd01::9")}}
	r2 := overlay.Remote{MAC: overlay.MACOf(a, ip("10.1.0.10")), VTEP: ip("192.0.2.10"), Addrs: []netip.Addr{ip("10.1.0.10")}}
	// The address of r1 at another host under another MAC, and p2's as a remote.
	r1moved := overlay.Remote{MAC: overlay.MAC{2, 9, 9, 9, 9, 9}, VTEP: ip("192.0.2.10"), Addrs: r1.Addrs}
	p2away := remote(p2, ip("192.0.2.10"))
	nine, ten := []netip.Addr{ip("192.0.2.9")}, []netip.Addr{ip("192.0.2.9"), ip("192.0.2.10")}
	remotes := func(list ...overlay.Remote) []overlay.Remote {
		slices.SortFunc(list, func(x, y overlay.Remote) int { return slices.Compare(x.MAC[:], y.MAC[:]) })
		return list
	}
	net := func(id string, vni uint32, change func(*overlay.NetworkConfig)) overlay.NetworkConfig {
		n := overlay.NetworkConfig{ID: id, VNI: vni, MTU: 1450, Guarded: true}
		change(&n)
		return n
	}
	cfg := func(networks ...overlay.NetworkConfig) overlay.Config {
		return overlay.Config{VTEP: ip("192.0.2.1"), Port: 4789, Networks: networks}
	}
	alone := net(a, 4097, func(n *overlay.NetworkConfig) { n.Ports = []overlay.Port{p1} })
	peers := net(a, 4097, func(n *overlay.NetworkConfig) {
		n.Ports, n.Remotes, n.Flood, n.Members = []overlay.Port{p1, p2}, remotes(r1, r2), ten, ten
	})
	other := net(b, 4098, func(n *overlay.NetworkConfig) { n.Ports, n.Members = []overlay.Port{p3}, nine })
	with := func(n overlay.NetworkConfig, change func(*overlay.NetworkConfig)) overlay.NetworkConfig {
		change(&n)
		return n
	}
	gone := with(peers, func(n *overlay.NetworkConfig) {
		n.Gone = []netip.Addr{ip("10.1.0.20"), ip("10.1.0.21"), ip("fd01::20")}
	})
	vtep6 := cfg(peers)
	vtep6.VTEP, vtep6.Port = ip("2001:db8::1"), 8472
	six := []netip.Addr{ip("2001:db8::9")}
	vtep6.Networks = []overlay.NetworkConfig{with(peers, func(n *overlay.NetworkConfig) {
		n.MTU, n.Flood, n.Members = 1430, six, six
		n.Remotes = remotes(overlay.Remote{MAC: r1.MAC, VTEP: six[0], Addrs: r1.Addrs})
	})}
	moved := cfg(peers)
	moved.VTEP = ip("192.0.2.2")
	return map[string]overlay.Config{
		"nothing":                cfg(),
		"one endpoint":           cfg(alone),
		"peers":                  cfg(peers),
		"two networks":           cfg(peers, other),
		"only the second":        cfg(other),
		"a peer less":            cfg(with(peers, func(n *overlay.NetworkConfig) { n.Remotes, n.Flood, n.Members = remotes(r1), nine, nine })),
		"stock without flooding": cfg(with(peers, func(n *overlay.NetworkConfig) { n.Flood = nil })),
		"an address moved":       cfg(with(peers, func(n *overlay.NetworkConfig) { n.Remotes = remotes(r1moved, r2) })),
		"an endpoint moved away": cfg(with(peers, func(n *overlay.NetworkConfig) { n.Ports, n.Remotes = []overlay.Port{p1}, remotes(r1, r2, p2away) })),
		"addresses are gone":     cfg(gone),
		"and one is taken": cfg(with(gone, func(n *overlay.NetworkConfig) {
			n.Gone = gone.Gone[1:]
			n.Ports = append(slices.Clone(n.Ports), port(a, "4", "10.1.0.20/24"))
		})),
		"one of them is left":  cfg(with(gone, func(n *overlay.NetworkConfig) { n.Gone = gone.Gone[:1] })),
		"gone and unguarded":   cfg(with(gone, func(n *overlay.NetworkConfig) { n.Guarded = false })),
		"gone and a small MTU": cfg(with(gone, func(n *overlay.NetworkConfig) { n.MTU = 1300 })),
		"unguarded":            cfg(with(peers, func(n *overlay.NetworkConfig) { n.Guarded = false })),
		"small MTU":            cfg(with(peers, func(n *overlay.NetworkConfig) { n.MTU = 1300 })),
		"VNIs swapped":         cfg(with(peers, func(n *overlay.NetworkConfig) { n.VNI = 4098 }), with(other, func(n *overlay.NetworkConfig) { n.VNI = 4097 })),
		"another VNI":          cfg(with(peers, func(n *overlay.NetworkConfig) { n.VNI = 77 })),
		"the VNI of the other": cfg(with(alone, func(n *overlay.NetworkConfig) { n.VNI = 4098 })),
		"another VTEP":         moved,
		"IPv6 underlay":        vtep6,
	}
}

// TestStates walks through the states, in order and then in many others, on one
// instance and sometimes on a fresh one, and reads the kernel back each time.
func TestStates(t *testing.T) {
	h := newHosts(t, 1)[0]
	all := states()
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	r := rand.New(rand.NewPCG(7, 7))
	steps := slices.Clone(names)
	for range 5 {
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		steps = append(steps, names...)
	}
	was := "the beginning"
	for i, name := range steps {
		if i%7 == 6 {
			h.restart()
		}
		h.cfg = all[name]
		if r := h.pass(i%3 == 2); r.Repairs != 0 {
			t.Errorf("step %d, from %q to %q: a change was taken for drift: %q", i, was, name, r.Repaired)
		}
		if d := cmp.Diff(h.wanted(), h.kernel()); d != "" {
			t.Fatalf("step %d, from %q to %q (-want +kernel):\n%s\nfast path: %+v", i, was, name, d, h.fastState())
		}
		if r := h.verify(); r.Repairs != 0 {
			t.Errorf("step %d, %q: repaired what was right: %q", i, name, r.Repaired)
		}
		was = name
	}
}

func TestSetStopsWhenTheContextEnds(t *testing.T) {
	h := newHosts(t, 1)[0]
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := h.dp.Set(ctx, states()["two networks"], false)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	h.cfg = states()["two networks"]
	h.set()
	if d := cmp.Diff(h.wanted(), h.kernel()); d != "" {
		t.Errorf("after a pass that was cut short (-want +kernel):\n%s", d)
	}
}
