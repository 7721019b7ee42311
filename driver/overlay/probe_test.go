package overlay_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
)

func TestPlanProbe(t *testing.T) {
	s := snapshot()
	if n := len(overlay.Plan(s).Networks); n != 1 {
		t.Fatalf("%d networks without a probe", n)
	}
	s.Probes = map[string]uint64{"h2": 1}
	s.Hosts["h3"] = overlay.Host{Name: "h3", VTEP: addr("2001:db8::3"), MTU: 1500} // out of reach
	peer := overlay.ProbeAddr(addr("192.0.2.2"))
	want := overlay.NetworkConfig{
		ID: "weft.probe", VNI: 16777215, MTU: 1450, Guarded: true,
		Remotes: []overlay.Remote{{MAC: overlay.MACOf("weft.probe", peer), VTEP: addr("192.0.2.2"), Addrs: []netip.Addr{peer}}},
		Members: []netip.Addr{addr("192.0.2.2")},
		Address: netip.PrefixFrom(overlay.ProbeAddr(addr("192.0.2.1")), 4),
	}
	got := overlay.Plan(s).Networks
	if len(got) != 2 {
		t.Fatalf("%d networks with a probe, want that of the endpoint and the probe's", len(got))
	}
	if diff := cmp.Diff(want, got[1], byValue); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	s.Partial = true
	if n := len(overlay.Plan(s).Networks); n != 1 {
		t.Errorf("%d networks on a host that does not know yet what it has", n)
	}
}

// The size that is tried is what containers of both hosts may send.
func TestProbeMTU(t *testing.T) {
	mtu := func(change func(*overlay.Snapshot)) int {
		s := snapshot()
		change(&s)
		return overlay.ProbePeers(s)[0].MTU
	}
	for name, c := range map[string]struct {
		change func(*overlay.Snapshot)
		want   int
	}{
		"of a network of both hosts": {func(*overlay.Snapshot) {}, 1450},
		"a third host's smaller underlay": {func(s *overlay.Snapshot) {
			h := s.Hosts["h3"]
			h.MTU = 1400
			s.Hosts["h3"] = h
		}, 1350},
		"one that the user chose": {func(s *overlay.Snapshot) {
			n := s.Networks["n1"]
			n.MTU = 1300
			s.Networks["n1"] = n
		}, 1300},
		"no network of both": {func(s *overlay.Snapshot) {
			s.Peers = nil
			h := s.Hosts["h2"]
			h.MTU = 1480
			s.Hosts["h2"] = h
		}, 1430},
	} {
		if got := mtu(c.change); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}

func TestProbeAddr(t *testing.T) {
	seen := map[netip.Addr]bool{}
	for i := range 255 {
		a := overlay.ProbeAddr(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
		if !netip.MustParsePrefix("240.0.0.0/4").Contains(a) || seen[a] {
			t.Errorf("address %s is another's or nobody's", a)
		}
		seen[a] = true
	}
}
