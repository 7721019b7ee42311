package dataplane

import (
	"net/netip"
	"slices"
	"testing"
)

// Of too many lanes the same ones are probed each time, and all are answered.
func TestLanesAreProbedUpToALimit(t *testing.T) {
	ways := []probedWay{{ours: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, theirs: []netip.Addr{netip.MustParseAddr("10.1.0.2")}}}
	var lanes []lane
	for i := range mostLanes + 100 {
		l := lane{vni: uint32(4096 + i%7), vtep: netip.AddrFrom4([4]byte{192, 0, byte(i / 7 >> 8), byte(i / 7)})} //nolint:gosec // small
		if i%10 != 0 {
			l.ways = ways
		}
		lanes = append(lanes, l)
	}
	backwards := slices.Clone(lanes)
	slices.Reverse(backwards)
	limit(lanes)
	limit(backwards)
	probed := 0
	for i, l := range lanes {
		if len(l.ways) > 0 {
			probed++
		}
		if o := backwards[i]; o.vtep != l.vtep || o.vni != l.vni || len(o.ways) != len(l.ways) {
			t.Fatalf("lane %d is %v and %v", i, l, o)
		}
	}
	if probed != mostLanes || len(lanes) != mostLanes+100 {
		t.Errorf("%d of %d are probed", probed, len(lanes))
	}
}

// Each address of either side takes its turn, of both families.
func TestAllAddressesTakePartInProbes(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	l := lane{ways: waysOf(addrs("10.1.0.1", "fd00::1", "10.1.0.2"), addrs("fd00::9", "10.1.0.9", "10.1.0.8", "10.1.0.7"))}
	seen := map[netip.Addr]bool{}
	for i := range 12 {
		src, dst := l.addresses(i)
		if src.Is4() != dst.Is4() {
			t.Errorf("from %s to %s", src, dst)
		}
		seen[src], seen[dst] = true, true
	}
	if len(seen) != 7 {
		t.Errorf("only %v take part", seen)
	}
	if got := waysOf(addrs("10.1.0.1"), addrs("fd00::9")); len(got) != 0 {
		t.Errorf("between families: %v", got)
	}
}
