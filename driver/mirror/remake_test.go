package mirror

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

var ip = []cmp.Option{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
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
	d.Labels, d.Internal, d.Options = map[string]string{"x": "y"}, true, map[string]string{option.VNIList: "5", "k": "v"}
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
