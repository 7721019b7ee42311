package dataplane_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
)

// BenchmarkNetworkAdd makes a network with one guarded endpoint.
func BenchmarkNetworkAdd(b *testing.B) {
	h := newHosts(b, 1)[0]
	i := 0
	for b.Loop() {
		i++
		id := fmt.Sprintf("n%05d", i)
		p := port(id, "c", "10.0.0.1/24")
		h.cfg.Networks = append(h.cfg.Networks, overlay.NetworkConfig{ID: id, VNI: uint32(4096 + i), MTU: 1450, Guarded: true, Ports: []overlay.Port{p}})
		h.set()
	}
}

// BenchmarkEndpointAdd adds an endpoint to a network.
func BenchmarkEndpointAdd(b *testing.B) {
	for _, guarded := range []bool{false, true} {
		b.Run(fmt.Sprintf("guarded=%t", guarded), func(b *testing.B) {
			h := newHosts(b, 1)[0]
			h.cfg.Networks = []overlay.NetworkConfig{{ID: "n", VNI: 4097, MTU: 1450, Guarded: guarded}}
			h.set()
			i := 0
			for b.Loop() {
				i++
				n := &h.cfg.Networks[0]
				n.Ports = append(slices.Clone(n.Ports), port("n", fmt.Sprint(i), fmt.Sprintf("10.0.%d.%d/16", i/256, i%256)))
				h.set()
			}
		})
	}
}

func manyRemotes(count int) []overlay.Remote {
	out := make([]overlay.Remote, 0, count)
	for i := range count {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		out = append(out, overlay.Remote{MAC: overlay.MACOf("n", a), VTEP: vtep(2 + i%200), Addrs: []netip.Addr{a}})
	}
	slices.SortFunc(out, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	return out
}

// BenchmarkRemotes programs 10,000 remotes into an empty network, adds one to
// them, and reads them all back.
func BenchmarkRemotes(b *testing.B) {
	const count = 10_000
	remotes := manyRemotes(count + 1)
	network := func(count int) []overlay.NetworkConfig {
		return []overlay.NetworkConfig{{ID: "n", VNI: 4097, MTU: 1450, Guarded: true, Remotes: remotes[:count]}}
	}
	b.Run("10000", func(b *testing.B) {
		h := newHosts(b, 1)[0]
		for b.Loop() {
			b.StopTimer()
			h.cfg.Networks = network(0)
			h.set()
			h.cfg.Networks = network(count)
			b.StartTimer()
			h.set()
		}
	})
	b.Run("one more", func(b *testing.B) {
		h := newHosts(b, 1)[0]
		i := 0
		for b.Loop() {
			h.cfg.Networks = network(count + i%2)
			h.set()
			i++
		}
	})
	b.Run("verify", func(b *testing.B) {
		h := newHosts(b, 1)[0]
		h.cfg.Networks = network(count)
		h.set()
		for b.Loop() {
			h.verify()
		}
	})
}
