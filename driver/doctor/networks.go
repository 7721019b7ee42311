package doctor

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

var promisesCheck = Check{
	Name: "promises", Code: 32, About: "no network here has an option whose promise weft does not keep",
	Run: ofState(promises),
}

var fixedMTUCheck = Check{
	Name: "fixed-mtu", Code: 33, About: "the underlay carries the MTU that a network here was created with",
	Run: ofState(tooNarrow),
}

// here are the networks that this host's Docker has, by id.
func here(s control.State) []overlay.Network {
	ids := map[string]bool{}
	for _, at := range s.Own {
		ids[at.Network] = true
	}
	for _, e := range s.Snapshot.Local {
		ids[e.Network] = true
	}
	var out []overlay.Network
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if n, ok := s.Snapshot.Networks[id]; ok {
			out = append(out, n)
		}
	}
	return out
}

// promises says which networks have options that weft would refuse today.
func promises(s control.State) []Finding {
	var out []Finding
	for _, n := range here(s) {
		for _, j := range option.Those(n, option.Broken) {
			out = append(out, Finding{
				Object:   fmt.Sprintf("network %q", n.Title()),
				Problem:  fmt.Sprintf("network %q was created with %s=%q, which weft does not keep: %s", n.Title(), j.Key, j.Value, j.Why),
				Cure:     "create the network anew without the option; as it is, it works as if it had none",
				Severity: control.Risk,
			})
		}
	}
	return out
}

// tooNarrow says which networks have a larger MTU than the underlay leaves.
func tooNarrow(s control.State) []Finding {
	var out []Finding
	self := s.Snapshot.Self
	for _, n := range here(s) {
		if !overlay.TooNarrow(self, n) {
			continue
		}
		out = append(out, Finding{
			Object: fmt.Sprintf("network %q", n.Title()),
			Problem: fmt.Sprintf("network %q was created with an MTU of %d, and the underlay of host %s takes packets of %d bytes, which leaves %d, so large packets between its containers here and those elsewhere are lost or cut to pieces",
				n.Title(), n.MTU, self.Name, self.MTU, overlay.Room(self)),
			Cure: fmt.Sprintf("give the underlay an MTU of %d, or create the network anew with %s=%d or less, or run no container of it here",
				n.MTU+overlay.Overhead(self.VTEP), option.MTU, overlay.Room(self)),
			Severity: control.Broken,
		})
	}
	return out
}
