package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
)

// lingerTime is how long something that no record accounts for may be there before
// it counts: a pass removes it, and one is due every 4 s.
const lingerTime = 10 * time.Second

var leftoversCheck = Check{
	Name: "leftovers", Code: 27, About: "the kernel has nothing of weft's that no record accounts for",
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		if _, err := h.state(); err != nil {
			return nil, err
		}
		deadline := time.Now().Add(lingerTime)
		for {
			marked, err := h.Kernel.Marked()
			if err != nil {
				return nil, err
			}
			left := unaccounted(marked, h.State().Snapshot)
			if len(left) == 0 || time.Now().After(deadline) {
				return leftoverFindings(h.self(), left), nil
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(500 * time.Millisecond):
			}
		}
	},
}

// leftover is one thing that no record accounts for: what it is, whose it is, and
// what to do.
type leftover struct{ object, whose, cure string }

// unaccounted are the things with weft's mark that have no record.
func unaccounted(m dataplane.Marked, s overlay.Snapshot) []leftover {
	networks, links := map[string]bool{overlay.ProbeNetwork: len(s.Probes) > 0}, map[string]bool{}
	for _, e := range s.Local {
		networks[e.Network] = true
		links[overlay.ContainerLink(e.ID)] = true
	}
	var out []leftover
	for _, id := range m.Networks {
		if !networks[id] {
			name := overlay.Namespace(id)
			out = append(out, leftover{"namespace " + name, "is weft's, and weft has not removed it within " + lingerTime.String(), fmt.Sprintf("remove it (ip netns del %s, or the file in /run/netns by hand) and see weft's log for why weft could not", name)})
		}
	}
	for _, name := range m.Links {
		if !links[name] {
			out = append(out, leftover{"link " + name, "has a name of weft's, which leaves it alone because its other end is in no network of weft's", fmt.Sprintf("remove it if it is nobody's: ip link del %s", name)})
		}
	}
	return out
}

func leftoverFindings(host string, left []leftover) []Finding {
	var out []Finding
	for _, l := range left {
		out = append(out, Finding{
			Object:   l.object,
			Problem:  fmt.Sprintf("no record accounts for the %s on %s, which %s", l.object, host, l.whose),
			Cure:     l.cure,
			Severity: control.Risk,
		})
	}
	return slices.Clip(out)
}
