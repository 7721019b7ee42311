package mirror

import (
	"net/netip"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
)

var ip = []cmp.Option{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// Which of Docker's networks is which in the kernel shows by what each of them has.
func TestIdentify(t *testing.T) {
	vni := func(n *dockerNetwork) { n.Options = map[string]string{vniOption: "70000"} }
	remains := []overlay.Remains{
		{ID: "w1", Ports: []string{overlay.PortLink("aaaaaaaaaaaaaaaa")}},
		{ID: "w2", VNI: 70000},
		{ID: "chosen", VNI: 70001},
		{ID: "nobodys"},
	}
	networks := []dockerNetwork{
		dockerNet("d1", "a"), dockerNet("d2", "b", vni), dockerNet("d3", "c", weftID("chosen")), dockerNet("d4", "d"),
	}
	endpoints := []found{{id: "aaaaaaaaaaaaaaaa", network: "d1"}, {id: "bbbbbbbbbbbbbbbb", network: "d4"}}
	want := map[string]overlay.Remains{"d1": remains[0], "d2": remains[1], "d3": remains[2]}
	if diff := cmp.Diff(want, identify(networks, endpoints, remains)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What Docker shows of a mirrored network makes the request that it was made by.
func TestWhatDockerShowsIsWhatItWasAskedFor(t *testing.T) {
	n := weftNet("0123456789ab", "a")
	n.VNI, n.IPv6, n.Internal = 70000, true, true
	n.Subnets = []overlay.Subnet{}
	for _, c := range []network.IPAMConfig{
		{Subnet: "10.7.0.0/16", IPRange: "10.7.4.0/24", Gateway: "10.7.0.1", AuxAddress: map[string]string{"r": "10.7.4.9"}},
		{Subnet: "fd00:7::/64", Gateway: "fd00:7::1/64"},
	} {
		s, ok := parseIPAM(c)
		if !ok {
			t.Fatalf("%+v is not understood", c)
		}
		n.Subnets = append(n.Subnets, s)
	}
	asked := createOptions("weft", "weft", n)
	ipv4 := asked.IPAM.Config[0]
	shown := parseNetwork(network.Summary{
		Name: "a", EnableIPv6: *asked.EnableIPv6, Internal: asked.Internal,
		IPAM: network.IPAM{Config: []network.IPAMConfig{asked.IPAM.Config[1], ipv4}}, Options: asked.Options,
	})
	if diff := cmp.Diff(n.Subnets, shown.Subnets, ip...); diff != "" || !shown.IPv6 || !shown.Internal {
		t.Errorf("shown is %+v (-asked +shown):\n%s", shown, diff)
	}
}

// A network is recorded with what Docker and the kernel have of it.
func TestRemake(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1")
	h.mirror.cfg.Options = func(options map[string]string) (overlay.Network, error) {
		return overlay.Network{VNI: 5, MTU: 1300, Options: options}, nil
	}
	s := &session{Mirror: h.mirror}
	d := dockerNet("d1", "a", subnet("10.1.0.0/16"))
	d.Labels, d.Internal, d.Options = map[string]string{"x": "y"}, true, map[string]string{vniOption: "5", "k": "v"}
	if err := s.remake(t.Context(), action{docker: d, kernel: overlay.Remains{ID: "w9", VNI: 70000}}); err != nil {
		t.Fatal(err)
	}
	want := overlay.Network{
		ID: "w9", Name: "a", VNI: 70000, MTU: 1300, Subnets: d.Subnets, Internal: true,
		Options: map[string]string{"k": "v"}, Labels: d.Labels, Created: at(0),
	}
	if diff := cmp.Diff(want, c.networks["w9"], ip...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
