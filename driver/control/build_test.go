package control

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-net/weft/driver/overlay"
)

var plain = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}

func TestNetworksCountHostsAndEndpointsOfTheWholeCluster(t *testing.T) {
	want := []Network{
		{
			ID: "lab", Name: "lab", VNI: 70001, Subnets: []netip.Prefix{}, MTU: 1300, Hosts: 1, State: NetworkRemote,
			Why: "Docker on host h1 does not have the network; it is mirrored as soon as Docker answers",
		},
		{
			ID: "aaaaaaaaaaaa", Name: "web", VNI: 70000, Subnets: []netip.Prefix{prefix("10.1.0.0/24"), prefix("fd00:1::/64")},
			MTU: 1350, Hosts: 3, Endpoints: 2, State: NetworkOK,
		},
	}
	if d := cmp.Diff(want, newIndex(healthy()).networks(), plain); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestNetworkState(t *testing.T) {
	change := func(s *State, f func(n *overlay.Network)) {
		n := s.Snapshot.Networks["aaaaaaaaaaaa"]
		f(&n)
		s.Snapshot.Networks["aaaaaaaaaaaa"] = n
	}
	for name, c := range map[string]struct {
		damage func(s *State)
		want   NetworkState
	}{
		"as it should be":           {func(*State) {}, NetworkOK},
		"tombstone, in use":         {func(s *State) { change(s, func(n *overlay.Network) { n.Deleted = start }) }, NetworkRemoving},
		"foreign network in Docker": {func(s *State) { s.Docker.Conflicts = []Conflict{{Network: "web", Text: "x"}} }, NetworkConflict},
		"kernel refuses":            {func(s *State) { s.Passes.Failed = []string{"aaaaaaaaaaaa"} }, NetworkFailed},
		"Docker never told a name":  {func(s *State) { change(s, func(n *overlay.Network) { n.Name = "" }) }, NetworkUnnamed},
		"nor does anybody mirror": {func(s *State) {
			s.Docker = Docker{}
			change(s, func(n *overlay.Network) { n.Name = "" })
		}, NetworkOK},
		"not in this host's Docker":    {func(s *State) { s.Own, s.Snapshot.Local = nil, nil }, NetworkRemote},
		"nor mirrored":                 {func(s *State) { s.Own, s.Snapshot.Local, s.Docker = nil, nil, Docker{} }, NetworkRemote},
		"larger than the underlay":     {func(s *State) { change(s, func(n *overlay.Network) { n.MTU = 1451 }) }, NetworkNarrow},
		"more containers than ports":   {func(s *State) { crowd(s, overlay.MostPorts+1) }, NetworkFailed},
		"as large as it leaves":        {func(s *State) { change(s, func(n *overlay.Network) { n.MTU = 1450 }) }, NetworkOK},
		"in Docker, without endpoints": {func(s *State) { s.Snapshot.Local = nil }, NetworkOK},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy()
			c.damage(&s)
			got, err := newIndex(s).detail("aaaaaaaaaaaa")
			if err != nil {
				t.Fatal(err)
			}
			if got.State != c.want || (got.Why == "") != (c.want == NetworkOK) {
				t.Errorf("state %q because %q, want %q", got.State, got.Why, c.want)
			}
		})
	}
}

func TestANetworkIsFoundByIDBeforeName(t *testing.T) {
	s := healthy()
	s.Snapshot.Networks["other"] = overlay.Network{ID: "other", Name: "lab"}
	for arg, want := range map[string]string{"web": "aaaaaaaaaaaa", "aaaaaaaaaaaa": "aaaaaaaaaaaa", "lab": "lab", "other": "other"} {
		if got, err := newIndex(s).detail(arg); err != nil || got.ID != want {
			t.Errorf("%s gives %q, %v; want %q", arg, got.ID, err, want)
		}
	}
	for _, arg := range []string{"", "nowhere"} {
		if _, err := newIndex(s).detail(arg); err == nil || !strings.Contains(err.Error(), "weft network ls") {
			t.Errorf("%q gives error %v", arg, err)
		}
	}
}

func TestANetworkListsWhatEachHostHas(t *testing.T) {
	got, err := newIndex(healthy()).detail("web")
	if err != nil {
		t.Fatal(err)
	}
	want := []NetworkHost{
		{
			Host: "h1", State: HostLive, Stock: []netip.Addr{addr("10.1.0.5")},
			Endpoints: []Endpoint{{
				ID: "e1", Container: "c1", Network: "aaaaaaaaaaaa", NetworkName: "web", Host: "h1",
				Addrs: []netip.Addr{addr("10.1.0.2"), addr("fd00:1::2")}, MAC: overlay.MAC{2, 0, 0, 0, 0, 1}, Phase: overlay.Joined,
			}},
		},
		{
			Host: "h2", State: HostLive, Stock: []netip.Addr{addr("10.1.0.8"), addr("10.1.0.9")},
			Endpoints: []Endpoint{{
				ID: "e2", Container: "c2", Network: "aaaaaaaaaaaa", NetworkName: "web", Host: "h2",
				Addrs: []netip.Addr{addr("10.1.0.3")}, MAC: overlay.MAC{2, 0, 0, 0, 0, 2},
			}},
		},
		{Host: "h3", State: HostDown, Endpoints: []Endpoint{}, Stock: []netip.Addr{}},
	}
	if d := cmp.Diff(want, got.On, plain); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestWhatBoundsANetworkAndWhatItDoesNotKeep(t *testing.T) {
	s := healthy()
	got, err := newIndex(s).detail("web")
	if err != nil {
		t.Fatal(err)
	}
	if got.MTUHost != "h2" || len(got.Narrow)+len(got.Ignored)+len(got.Unkept) > 0 {
		t.Errorf("got %+v", got)
	}
	n := s.Snapshot.Networks["aaaaaaaaaaaa"]
	n.MTU, n.Options = 1400, map[string]string{"encrypted": "", "foo": "bar", "com.docker.network.driver.mtu": "1400"}
	s.Snapshot.Networks["aaaaaaaaaaaa"] = n
	if got, err = newIndex(s).detail("web"); err != nil {
		t.Fatal(err)
	}
	if got.MTUHost != "" || got.State != NetworkOK {
		t.Errorf("bounded by %q, state %s: h1 can carry it", got.MTUHost, got.State)
	}
	for _, c := range []struct {
		name, want string
		got        []string
	}{
		{"narrow", "the underlay of host h2 takes packets of 1400 bytes, which leaves 1350", got.Narrow},
		{"ignored", "foo=bar: ", got.Ignored},
		{"not kept", "encrypted=: weft cannot encrypt", got.Unkept},
	} {
		if len(c.got) != 1 || !strings.HasPrefix(c.got[0], c.want) {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
}

func TestEndpointsAreFiltered(t *testing.T) {
	for name, c := range map[string]struct {
		f    Filter
		want string
	}{
		"all":                 {Filter{}, "e1 e2"},
		"by network's name":   {Filter{Network: "web"}, "e1 e2"},
		"by network's id":     {Filter{Network: "aaaaaaaaaaaa"}, "e1 e2"},
		"of another network":  {Filter{Network: "lab"}, ""},
		"by host":             {Filter{Host: "h2"}, "e2"},
		"by both":             {Filter{Network: "web", Host: "h1"}, "e1"},
		"of a host with none": {Filter{Host: "h3"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newIndex(healthy()).filtered(c.f)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, e := range got {
				ids = append(ids, e.ID)
			}
			if s := strings.Join(ids, " "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
	if _, err := newIndex(healthy()).filtered(Filter{Host: "h9"}); err == nil || !strings.Contains(err.Error(), "h9") {
		t.Errorf("an unknown host gives error %v", err)
	}
}

func TestHosts(t *testing.T) {
	want := []Host{
		{Name: "h1", Self: true, Incarnation: "i1", VTEP: "192.0.2.1", Port: 4789, MTU: 1500, Version: "1.0", State: HostLive, Since: start, Networks: 1, Endpoints: 1},
		{Name: "h2", Incarnation: "i2", VTEP: "192.0.2.2", Port: 4789, MTU: 1400, Version: "1.0", State: HostLive, Since: start, Networks: 2, Endpoints: 1},
		{Name: "h3", Incarnation: "i3", VTEP: "192.0.2.3", Port: 4789, MTU: 1500, Version: "0.9", State: HostDown, Since: start, Networks: 1},
	}
	if d := cmp.Diff(want, newIndex(healthy()).hosts); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestOtherHostsAreUnknownWhileTheStoreIsAway(t *testing.T) {
	s := healthy()
	s.Store = Store{URL: "consul://x", Since: start.Add(time.Hour), Error: "no route"}
	for _, h := range newIndex(s).hosts {
		want, since := HostUnknown, s.Store.Since
		if h.Self {
			want, since = HostLive, start
		}
		if h.State != want || h.Since != since {
			t.Errorf("host %s is %s since %s, want %s since %s", h.Name, h.State, h.Since, want, since)
		}
	}
}

func TestStatusCounts(t *testing.T) {
	got := newIndex(healthy()).status(start)
	want := Counts{Networks: 2, Endpoints: 2, EndpointsHere: 1, Hosts: 3, HostsLive: 2, HostsDown: 1, Stock: 1}
	if got.Counts != want {
		t.Errorf("got %+v, want %+v", got.Counts, want)
	}
}

func TestAnEmptyStateMakesEveryView(t *testing.T) {
	x := newIndex(State{})
	if _, err := x.filtered(Filter{}); err != nil {
		t.Error(err)
	}
	if n := len(x.networks()); n != 0 {
		t.Errorf("%d networks", n)
	}
	if x.status(start).Healthy {
		t.Error("nothing has begun, but all is well")
	}
}
