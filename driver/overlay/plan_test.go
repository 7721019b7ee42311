package overlay_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-net/weft/driver/overlay"
)

var byValue = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
	cmpopts.EquateEmpty(),
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func host(name, vtep string) overlay.Host {
	return overlay.Host{Name: name, VTEP: addr(vtep), Port: 4789, MTU: 1500}
}

// snapshot is three hosts in one network: h1 (self) and h2 have a container,
// h3 only stock.
func snapshot() overlay.Snapshot {
	n := overlay.Network{
		ID: "n1", VNI: 70000, Name: "net",
		Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("10.128.0.0/24")}, {Prefix: netip.MustParsePrefix("fd00::/64")}},
	}
	return overlay.Snapshot{
		Self:     host("h1", "192.0.2.1"),
		Hosts:    map[string]overlay.Host{"h2": host("h2", "192.0.2.2"), "h3": host("h3", "192.0.2.3")},
		Networks: map[string]overlay.Network{"n1": n},
		Local: []overlay.Endpoint{{
			ID: "e1", Network: "n1", Phase: overlay.Joined, Sandbox: "/run/sandbox", MAC: overlay.MACOf("n1", addr("10.128.0.5")),
			Addrs: []netip.Addr{addr("10.128.0.5"), addr("fd00::5")},
		}},
		Held: map[string][]netip.Addr{"n1": {addr("10.128.0.5"), addr("10.128.0.7"), addr("fd00::5"), addr("fd00::7")}},
		Peers: map[string][]overlay.Attachment{"n1": {
			{Network: "n1", Host: "h3", Stock: []netip.Addr{addr("10.128.0.30")}},
			{
				Network: "n1", Host: "h2", Stock: []netip.Addr{addr("10.128.0.20")},
				Endpoints: []overlay.PeerEndpoint{{ID: "e2", MAC: overlay.MAC{2, 0, 0, 0, 0, 9}, Addrs: []netip.Addr{addr("fd00::9"), addr("10.128.0.9")}}},
			},
		}},
	}
}

func TestPlan(t *testing.T) {
	stock := func(a, vtep string) overlay.Remote {
		return overlay.Remote{MAC: overlay.MACOf("n1", addr(a)), VTEP: addr(vtep), Addrs: []netip.Addr{addr(a)}}
	}
	want := overlay.Config{VTEP: addr("192.0.2.1"), Port: 4789, Hosts: []netip.Addr{addr("192.0.2.1"), addr("192.0.2.2"), addr("192.0.2.3")}, Networks: []overlay.NetworkConfig{{
		ID: "n1", VNI: 70000, MTU: 1450, Guarded: true,
		Ports: []overlay.Port{{
			Endpoint: "e1", MAC: overlay.MACOf("n1", addr("10.128.0.5")), Sandbox: "/run/sandbox",
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.128.0.5/24"), netip.MustParsePrefix("fd00::5/64")},
		}},
		Remotes: []overlay.Remote{
			{MAC: overlay.MAC{2, 0, 0, 0, 0, 9}, VTEP: addr("192.0.2.2"), Addrs: []netip.Addr{addr("10.128.0.9"), addr("fd00::9")}},
			stock("10.128.0.20", "192.0.2.2"), stock("10.128.0.30", "192.0.2.3"),
		},
		Flood:   []netip.Addr{addr("192.0.2.2")},
		Members: []netip.Addr{addr("192.0.2.2"), addr("192.0.2.3")},
		Gone:    []netip.Addr{addr("10.128.0.7"), addr("fd00::7")},
	}}}
	if diff := cmp.Diff(want, overlay.Plan(snapshot()), byValue); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestWhoTakesPacketsDirectly(t *testing.T) {
	h2, h3 := overlay.MAC{2, 1, 1, 1, 1, 2}, overlay.MAC{2, 1, 1, 1, 1, 3}
	set := func(s *overlay.Snapshot, name string, mac overlay.MAC) {
		h := s.Hosts[name]
		h.Direct = mac
		s.Hosts[name] = h
	}
	of := func(change func(n *overlay.Network)) func(*overlay.Snapshot) {
		return func(s *overlay.Snapshot) {
			n := s.Networks["n1"]
			change(&n)
			s.Networks["n1"] = n
		}
	}
	both := []overlay.NIC{{VTEP: addr("192.0.2.2"), MAC: h2}, {VTEP: addr("192.0.2.3"), MAC: h3}}
	for name, c := range map[string]struct {
		change func(*overlay.Snapshot)
		want   []overlay.NIC
	}{
		"all that say so":                   {func(*overlay.Snapshot) {}, both},
		"not who does not":                  {func(s *overlay.Snapshot) { set(s, "h3", overlay.MAC{}) }, both[:1]},
		"not who is not in the network":     {func(s *overlay.Snapshot) { s.Peers["n1"] = s.Peers["n1"][1:] }, both[:1]},
		"not who is down":                   {func(s *overlay.Snapshot) { delete(s.Hosts, "h3") }, both[:1]},
		"not two with one MAC":              {func(s *overlay.Snapshot) { set(s, "h3", h2) }, nil},
		"not who has this host's MAC":       {func(s *overlay.Snapshot) { s.Self.Direct = h3 }, both[:1]},
		"not with an IPv6 underlay":         {func(s *overlay.Snapshot) { s.Self.VTEP = addr("2001:db8::1") }, nil},
		"not with records that may lack":    {func(s *overlay.Snapshot) { s.Partial = true }, nil},
		"not if a person does not want it":  {of(func(n *overlay.Network) { n.Tunnelled = true }), nil},
		"not where addresses are anybody's": {of(func(n *overlay.Network) { n.Unguarded = true }), nil},
		"not with addresses of two networks": {func(s *overlay.Snapshot) {
			s.Networks["n2"] = overlay.Network{ID: "n2", Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("10.128.0.128/25")}}}
		}, nil},
		"with networks besides": {func(s *overlay.Snapshot) {
			s.Networks["n2"] = overlay.Network{ID: "n2", Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("10.129.0.0/24")}}}
		}, both},
	} {
		s := snapshot()
		set(&s, "h2", h2)
		set(&s, "h3", h3)
		c.change(&s)
		if diff := cmp.Diff(c.want, overlay.Plan(s).Networks[0].Direct, byValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPlanVariations(t *testing.T) {
	tests := map[string]struct {
		change func(*overlay.Snapshot)
		check  func(overlay.Config) bool
	}{
		"a network without an endpoint here needs nothing": {
			func(s *overlay.Snapshot) { s.Local = nil },
			func(c overlay.Config) bool { return len(c.Networks) == 0 },
		},
		"an endpoint that nobody joined needs nothing": {
			func(s *overlay.Snapshot) { s.Local[0].Phase = overlay.Created },
			func(c overlay.Config) bool { return len(c.Networks) == 0 },
		},
		"an endpoint that left is kept": {
			func(s *overlay.Snapshot) { s.Local[0].Phase = overlay.Left },
			func(c overlay.Config) bool { return c.Networks[0].Ports[0].Keep },
		},
		"the smallest underlay sets the MTU": {
			func(s *overlay.Snapshot) { h := s.Hosts["h3"]; h.MTU = 1400; s.Hosts["h3"] = h },
			func(c overlay.Config) bool { return c.Networks[0].MTU == 1350 },
		},
		"a chosen MTU stays": {
			func(s *overlay.Snapshot) { n := s.Networks["n1"]; n.MTU = 1300; s.Networks["n1"] = n },
			func(c overlay.Config) bool { return c.Networks[0].MTU == 1300 },
		},
		"a host without a record is no member": {
			func(s *overlay.Snapshot) { delete(s.Hosts, "h2") },
			func(c overlay.Config) bool { return len(c.Networks[0].Members) == 1 && len(c.Networks[0].Flood) == 0 },
		},
		"an address in use here is nobody's remote": {
			func(s *overlay.Snapshot) { s.Peers["n1"][0].Stock = []netip.Addr{addr("10.128.0.5")} },
			func(c overlay.Config) bool { return len(c.Networks[0].Remotes) == 2 },
		},
		"a container has its addresses until Leave": {
			func(s *overlay.Snapshot) { s.Local[0].Phase = overlay.Left },
			func(c overlay.Config) bool { return len(c.Networks[0].Gone) == 4 },
		},
		"what another host has or holds is not refused": {
			func(s *overlay.Snapshot) {
				s.Held["n1"] = []netip.Addr{addr("10.128.0.7"), addr("10.128.0.30"), addr("10.128.0.9"), addr("fd00::9")}
			},
			func(c overlay.Config) bool { return len(c.Networks[0].Gone) == 1 },
		},
		"nor what a host has that is not sent to": {
			func(s *overlay.Snapshot) {
				delete(s.Hosts, "h2")
				s.Held["n1"] = []netip.Addr{addr("10.128.0.9"), addr("10.128.0.20")}
			},
			func(c overlay.Config) bool { return len(c.Networks[0].Gone) == 0 },
		},
		"nor the gateway and aux addresses": {
			func(s *overlay.Snapshot) {
				n := &s.Networks["n1"].Subnets[0]
				n.Gateway, n.Aux = addr("10.128.0.1"), map[string]netip.Addr{"router": addr("10.128.0.2")}
				s.Held["n1"] = []netip.Addr{addr("10.128.0.1"), addr("10.128.0.2")}
			},
			func(c overlay.Config) bool { return len(c.Networks[0].Gone) == 0 },
		},
		"nor where containers may send from any address": {
			func(s *overlay.Snapshot) { n := s.Networks["n1"]; n.Unguarded = true; s.Networks["n1"] = n },
			func(c overlay.Config) bool { return len(c.Networks[0].Gone) == 0 },
		},
		"nor anything while records are missing": {
			func(s *overlay.Snapshot) { s.Partial = true },
			func(c overlay.Config) bool { return len(c.Networks[0].Gone) == 0 },
		},
		"an IPv6 underlay costs 70 bytes": {
			func(s *overlay.Snapshot) { s.Self.VTEP = addr("2001:db8::1") },
			func(c overlay.Config) bool { return c.Networks[0].MTU == 1430 && len(c.Networks[0].Members) == 0 },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := snapshot()
			tt.change(&s)
			if got := overlay.Plan(s); !tt.check(got) {
				t.Errorf("plan is %+v", got)
			}
		})
	}
}

// Equal records give equal configs, in whatever order maps and lists come.
func TestPlanIsCanonical(t *testing.T) {
	want := overlay.Plan(snapshot())
	for range 50 {
		s := snapshot()
		rand.Shuffle(len(s.Peers["n1"]), func(i, j int) { s.Peers["n1"][i], s.Peers["n1"][j] = s.Peers["n1"][j], s.Peers["n1"][i] })
		if got := overlay.Plan(s); !got.Networks[0].Equal(want.Networks[0]) {
			t.Fatalf("plan differs: %+v, %+v", got, want)
		}
	}
}

func TestMACOf(t *testing.T) {
	seen := map[overlay.MAC]netip.Addr{}
	for a := addr("10.0.0.0"); a.Less(addr("10.0.40.0")); a = a.Next() {
		m := overlay.MACOf("n", a)
		if other, dup := seen[m]; dup {
			t.Fatalf("%s and %s share %s", a, other, m)
		}
		if m[0]&3 != 2 {
			t.Fatalf("%s is not locally administered unicast", m)
		}
		seen[m] = a
	}
	if overlay.MACOf("n", addr("fd00::1")) == overlay.MACOf("n", addr("fd00::2")) {
		t.Error("two IPv6 addresses share a MAC")
	}
}

func FuzzParseMAC(f *testing.F) {
	f.Add("02:42:0a:00:00:01")
	f.Add("ff:ff:ff:ff:ff:ff")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := overlay.ParseMAC(s)
		if err != nil {
			return
		}
		again, err := overlay.ParseMAC(m.String())
		if err != nil || again != m {
			t.Errorf("%q became %s became %s, %v", s, m, again, err)
		}
	})
}
