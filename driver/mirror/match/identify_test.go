package match

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

// Which of Docker's networks is which in the kernel shows by what each of them has.
func TestIdentify(t *testing.T) {
	vni := map[string]string{option.VNIList: "70000"}
	remains := []overlay.Remains{
		{ID: "w1", Ports: []string{overlay.PortLink("aaaaaaaaaaaaaaaa")}},
		{ID: "w2", VNI: 70000},
		{ID: "chosen", VNI: 70001},
		{ID: "nobodys"},
	}
	networks := []engine.Network{
		{ID: "d1", Name: "a"},
		{ID: "d2", Name: "b", Options: vni},
		{ID: "d3", Name: "c", Options: map[string]string{option.ID: "chosen"}},
		{ID: "d4", Name: "d"},
	}
	endpoints := []engine.Endpoint{{ID: "aaaaaaaaaaaaaaaa", Network: "d1"}, {ID: "bbbbbbbbbbbbbbbb", Network: "d4"}}
	want := map[string]overlay.Remains{"d1": remains[0], "d2": remains[1], "d3": remains[2]}
	if diff := cmp.Diff(want, Identify(networks, endpoints, remains)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
