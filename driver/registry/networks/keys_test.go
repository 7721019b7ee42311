package networks_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
)

func TestKeyless(t *testing.T) {
	gone := removed(overlay.Network{ID: "gone", Name: "old", VNI: 70002})
	unnamed := overlay.Network{ID: "new", VNI: 70003}
	whole := map[string]string{"name/blue": "blue", "vni/70001": "blue", "vni/70003": "new"}
	for name, c := range map[string]struct {
		change map[string]string // "-": there is no such key
		want   []string
	}{
		"whole":                               {nil, nil},
		"without a name's":                    {map[string]string{"name/blue": "-"}, []string{"blue"}},
		"without a VNI's":                     {map[string]string{"vni/70001": "-"}, []string{"blue"}},
		"without two":                         {map[string]string{"vni/70001": "-", "vni/70003": "-"}, []string{"blue", "new"}},
		"a removed network has left one":      {map[string]string{"name/blue": "gone"}, []string{"blue"}},
		"another live network has one":        {map[string]string{"name/blue": "new"}, nil},
		"a network that is not known has one": {map[string]string{"vni/70001": "red"}, nil},
		"one that nobody understands":         {map[string]string{"vni/70001": ""}, nil},
		"one that is nobody's":                {map[string]string{"vni/70009": "red", "name/red": "red"}, nil},
	} {
		stored := maps.Clone(whole)
		for key, value := range c.change {
			if stored[key] = value; value == "-" {
				delete(stored, key)
			}
		}
		if got := with(blue(), gone, unnamed).Keyless(stored); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
