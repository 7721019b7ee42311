package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
)

var routesCheck = Check{
	Name: "routes", Code: 26, About: "no network's subnet is a range that the host routes elsewhere",
	Run: func(_ context.Context, h *Host) ([]Finding, error) {
		s, err := h.state()
		if err != nil {
			return nil, err
		}
		routes, err := h.Kernel.Routes()
		if err != nil {
			return nil, err
		}
		return overlaps(h.self(), s.Snapshot.Networks, routes), nil
	},
}

func overlaps(host string, networks map[string]overlay.Network, routes []dataplane.Route) []Finding {
	var out []Finding
	for _, n := range networks {
		if n.Internal {
			continue // its containers reach nothing else anyway
		}
		for _, subnet := range n.Subnets {
			for _, r := range routes {
				if !subnet.Prefix.Overlaps(r.Prefix) {
					continue
				}
				out = append(out, Finding{
					Object:   "network " + n.Title(),
					Problem:  fmt.Sprintf("the subnet %s of network %q overlaps with %s, which %s routes over %s: containers in the network do not reach the addresses there", subnet.Prefix, n.Title(), r.Prefix, host, cmp.Or(r.Link, "several links")),
					Cure:     "make the network again with another --subnet, or remove the route if it is not needed",
					Severity: control.Risk,
				})
			}
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return cmp.Compare(a.Problem, b.Problem) })
	return out
}
