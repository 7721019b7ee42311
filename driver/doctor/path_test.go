package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/probe"
)

// pathHost is h1, which has probed the paths.
func pathHost(paths ...probe.Path) *Host {
	return &Host{
		State: func() control.State {
			return control.State{Snapshot: overlay.Snapshot{Self: overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789}}}
		},
		Paths: func(context.Context) ([]probe.Path, error) { return paths, nil },
	}
}

func well2(from, to string) probe.Path {
	return probe.Path{From: from, To: to, Reached: true, Full: true, MTU: 1450, Largest: 1450}
}

func TestPathFindings(t *testing.T) {
	cut := probe.Path{From: "h1", To: "h2"}
	narrow := probe.Path{From: "h1", To: "h3", Reached: true, MTU: 1450, Largest: 1350}
	bad := probe.Path{From: "h2", To: "h3", Reached: true, Full: true, Harmed: true}
	h := pathHost(cut, narrow, bad, well2("h2", "h1"), well2("h3", "h1"), well2("h3", "h2"))
	for check, words := range map[*Check][]string{
		&tunnelCheck:   {"from h1 to h2", "UDP port 4789"},
		&mtuCheck:      {"from h1 to h3", "1350", "1450", "--mtu 1400", "MTU of 1500"},
		&checksumCheck: {"from h2 to h3", "ethtool"},
	} {
		found, err := check.Run(t.Context(), h)
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %+v, %v", check.Name, found, err)
			continue
		}
		text := fmt.Sprint(found[0])
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in %s", check.Name, w, text)
			}
		}
	}
}

func TestUnknownPathsAreNoFindings(t *testing.T) {
	h := pathHost(well2("h1", "h2"), probe.Path{From: "h1", To: "h3", Unknown: "host h3 is down"}, probe.Path{From: "h3", To: "h1", Unknown: "host h3 is down"})
	found, err := tunnelCheck.Run(t.Context(), h)
	if len(found) > 0 || err == nil || strings.Count(err.Error(), "host h3 is down") != 1 {
		t.Errorf("%+v, %v", found, err)
	}
}

// A host that is cut off is one finding each way, however many hosts there are.
func TestPathsAreBundled(t *testing.T) {
	var cut []probe.Path
	for _, h := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		cut = append(cut, probe.Path{From: h, To: "x"}, probe.Path{From: "x", To: h})
	}
	got := bundles(cut)
	if len(got) != 2 || got[0].to() != "x" || got[1].from() != "x" || got[0].from() != "a, b, c, d, e and 2 other hosts" {
		t.Errorf("%d bundles: %v", len(got), got)
	}
}
