package overlay

import (
	"net/netip"
	"slices"
	"testing"
)

// mixed is h1 with an endpoint in network n, which hosts of these MTUs have too.
func mixed(own int, peers map[string]int) Snapshot {
	s := Snapshot{
		Self:     Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), MTU: own},
		Hosts:    map[string]Host{},
		Networks: map[string]Network{"n": {ID: "n"}},
		Local:    []Endpoint{{ID: "e", Network: "n", Phase: Joined}},
		Peers:    map[string][]Attachment{},
	}
	for name, mtu := range peers {
		s.Hosts[name] = Host{Name: name, VTEP: netip.MustParseAddr("192.0.2.9"), MTU: mtu}
		s.Peers["n"] = append(s.Peers["n"], Attachment{Network: "n", Host: name})
	}
	return s
}

func TestWhoBoundsAnMTU(t *testing.T) {
	for name, c := range map[string]struct {
		s    Snapshot
		n    Network
		want Bound
	}{
		"alone":             {mixed(1500, nil), Network{ID: "n"}, Bound{1450, "h1"}},
		"a smaller host":    {mixed(1500, map[string]int{"h2": 1400, "h3": 9000}), Network{ID: "n"}, Bound{1350, "h2"}},
		"this host first":   {mixed(1400, map[string]int{"h0": 1400}), Network{ID: "n"}, Bound{1350, "h1"}},
		"then by name":      {mixed(1500, map[string]int{"h4": 1400, "h3": 1400, "h5": 1400}), Network{ID: "n"}, Bound{1350, "h3"}},
		"a host unknown":    {mixed(1500, map[string]int{"h2": 0}), Network{ID: "n"}, Bound{1450, "h1"}},
		"fixed, even above": {mixed(1400, map[string]int{"h2": 1300}), Network{ID: "n", MTU: 1450}, Bound{1450, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := BoundOf(c.s, c.n); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestHostsThatCannotCarryAFixedMTU(t *testing.T) {
	s := mixed(1400, map[string]int{"h2": 1500, "h0": 1300, "h4": 0})
	names := func(n Network) (out []string) {
		for _, h := range Narrow(s, n) {
			out = append(out, h.Name)
		}
		return out
	}
	if got, want := names(Network{ID: "n", MTU: 1450}), []string{"h0", "h1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := names(Network{ID: "n"}); got != nil {
		t.Errorf("without a fixed MTU: %q", got)
	}
}

func TestMTUsThatHaveGoneDown(t *testing.T) {
	before, after := BoundsOf(mixed(1500, map[string]int{"h2": 1500})), BoundsOf(mixed(1500, map[string]int{"h2": 1500, "h3": 1400}))
	if got := after.Below(before); !slices.Equal(got, []string{"n"}) || after["n"].Host != "h3" {
		t.Errorf("below: %q, %+v", got, after)
	}
	if got := before.Below(after); got != nil {
		t.Errorf("gone up, and below: %q", got)
	}
	if got := after.Below(nil); got != nil {
		t.Errorf("seen first, and below: %q", got)
	}
	s := mixed(1500, map[string]int{"h3": 1400})
	s.Local = nil
	if got := BoundsOf(s); len(got) != 0 {
		t.Errorf("nobody is concerned, and yet %+v", got)
	}
}
