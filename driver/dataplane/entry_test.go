package dataplane

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
)

func all(overlay.Port) bool { return true }

func shown(list []entry) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, e.String())
	}
	return out
}

func TestEntriesOfANetwork(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	ten, eleven, six := netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("fd00::10")
	own := netip.MustParseAddr("10.0.0.5")
	derived := overlay.MACOf("n", ten)
	chosen := overlay.MAC{0x02, 0xff, 0xff, 0, 0, 1}
	mine := overlay.MACOf("n", own)
	port := overlay.Port{Endpoint: "0123456789abcdef", MAC: mine, Addrs: []netip.Prefix{netip.PrefixFrom(own, 24)}}
	tests := map[string]struct {
		n    overlay.NetworkConfig
		want []string
	}{
		"nothing": {overlay.NetworkConfig{ID: "n"}, []string{}},
		"flooding": {overlay.NetworkConfig{ID: "n", Flood: []netip.Addr{a, b}}, []string{
			"flood entry to 192.0.2.1", "flood entry to 192.0.2.2",
		}},
		"a remote of both families": {overlay.NetworkConfig{ID: "n", MTU: 1450, Remotes: []overlay.Remote{{MAC: derived, VTEP: a, Addrs: []netip.Addr{ten, six}}}}, []string{
			"fdb entry " + derived.String() + " at host 192.0.2.1", "bridge fdb entry " + derived.String() + " at vx0",
			"neighbour 10.0.0.10 at " + derived.String(), "neighbour fd00::10 at " + derived.String(),
		}},
		"no IPv6 below its smallest MTU": {overlay.NetworkConfig{ID: "n", MTU: 1279, Remotes: []overlay.Remote{{MAC: derived, VTEP: a, Addrs: []netip.Addr{six}}}}, []string{
			"fdb entry " + derived.String() + " at host 192.0.2.1", "bridge fdb entry " + derived.String() + " at vx0",
		}},
		"an endpoint with a chosen MAC wins over stock": {overlay.NetworkConfig{ID: "n", Remotes: []overlay.Remote{
			{MAC: derived, VTEP: a, Addrs: []netip.Addr{ten}}, {MAC: chosen, VTEP: b, Addrs: []netip.Addr{ten}},
		}}, []string{
			"fdb entry " + derived.String() + " at host 192.0.2.1", "fdb entry " + chosen.String() + " at host 192.0.2.2",
			"bridge fdb entry " + derived.String() + " at vx0", "bridge fdb entry " + chosen.String() + " at vx0",
			"neighbour 10.0.0.10 at " + chosen.String(),
		}},
		"a local endpoint wins over a remote": {overlay.NetworkConfig{ID: "n", Ports: []overlay.Port{port}, Remotes: []overlay.Remote{
			{MAC: mine, VTEP: a, Addrs: []netip.Addr{own}}, {MAC: derived, VTEP: a, Addrs: []netip.Addr{own, eleven}},
		}}, []string{
			"fdb entry " + derived.String() + " at host 192.0.2.1",
			"bridge fdb entry " + mine.String() + " at wp0123456789ab", "bridge fdb entry " + derived.String() + " at vx0",
			"neighbour 10.0.0.11 at " + derived.String(),
		}},
	}
	for name, test := range tests {
		got := shown(entries(test.n, all))
		slices.Sort(got)
		slices.Sort(test.want)
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// model is what the kernel does with changes: one value for each key.
func model(have []entry, add, del []entry) map[entry]entry {
	key := func(e entry) entry {
		switch {
		case e.table == neighbour:
			return entry{table: e.table, addr: e.addr}
		case e.isFlood():
			return entry{table: e.table, addr: e.addr}
		}
		return entry{table: e.table, mac: e.mac}
	}
	out := map[entry]entry{}
	for _, e := range have {
		out[key(e)] = e
	}
	for _, e := range add {
		out[key(e)] = e
	}
	for _, e := range del {
		delete(out, key(e))
	}
	return out
}

func TestDiffLeadsFromAnyStateToAnyOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() []entry {
		var list []entry
		for range r.IntN(12) {
			e := entry{table: table(r.IntN(3)), mac: overlay.MAC{2, byte(r.IntN(4))}, odd: r.IntN(8) == 0}
			if e.table == tunnel && r.IntN(3) == 0 {
				e.mac = overlay.MAC{}
			}
			if e.table != forward {
				e.addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(4))})
			} else {
				e.link = []string{"vx0", "wp0"}[r.IntN(2)]
			}
			list = append(list, e)
		}
		sortEntries(list)
		return slices.CompactFunc(list, func(a, b entry) bool { return byKey(a, b) == 0 })
	}
	for range 2000 {
		have, want := random(), random()
		add, del := diff(want, have)
		got, wanted := model(have, add, del), model(want, nil, nil)
		if len(got) != len(wanted) {
			t.Fatalf("from %v to %v: got %v", have, want, got)
		}
		for k, e := range wanted {
			if got[k] != e {
				t.Fatalf("from %v to %v: %v is %v", have, want, e, got[k])
			}
		}
		if add, del := diff(want, want); len(add)+len(del) != 0 {
			t.Fatalf("%v differs from itself", want)
		}
	}
}
