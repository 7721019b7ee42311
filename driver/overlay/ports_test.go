package overlay_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// crowd are endpoints of one network in the order of their ages, the last one the youngest.
func crowd(count int) []overlay.Endpoint {
	n := snapshot().Networks["n1"]
	out := make([]overlay.Endpoint, 0, count)
	for i := range count {
		a := addr(fmt.Sprintf("10.128.%d.%d", i/256, i%256))
		out = append(out, overlay.Endpoint{
			ID: fmt.Sprintf("e%05d", count-i), Network: n.ID, Phase: overlay.Joined, MAC: overlay.MACOf(n.ID, a),
			Created: time.Unix(int64(i), 0),
		})
	}
	return out
}

func TestPorted(t *testing.T) {
	const most = overlay.MostPorts
	for name, c := range map[string]struct {
		endpoints int
		change    func([]overlay.Endpoint)
		beyond    []int // by age
	}{
		"none":                           {0, nil, nil},
		"one":                            {1, nil, nil},
		"as many as there are ports":     {most, nil, nil},
		"one more":                       {most + 1, nil, []int{most}},
		"three more":                     {most + 3, nil, []int{most, most + 1, most + 2}},
		"one more, and one that is lost": {most + 1, func(e []overlay.Endpoint) { e[5].Phase = overlay.Lost }, nil},
		"one that comes and one that goes keep their ports": {most + 1, func(e []overlay.Endpoint) {
			e[0].Phase, e[1].Phase = overlay.Created, overlay.Left
		}, []int{most}},
		"two of one moment": {most + 1, func(e []overlay.Endpoint) {
			e[most].Created = e[most-1].Created
		}, []int{most - 1}}, // whose id comes later
	} {
		t.Run(name, func(t *testing.T) {
			endpoints := crowd(c.endpoints)
			if c.change != nil {
				c.change(endpoints)
			}
			var want, got []string
			for _, i := range c.beyond {
				want = append(want, endpoints[i].ID)
			}
			shuffled := slices.Clone(endpoints)
			slices.SortFunc(shuffled, func(a, b overlay.Endpoint) int { return strings.Compare(a.ID, b.ID) })
			ported, beyond := overlay.Ported(shuffled)
			for _, e := range beyond {
				got = append(got, e.ID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("beyond are %v, want %v", got, want)
			}
			lost := 0
			for _, e := range endpoints {
				if e.Phase == overlay.Lost {
					lost++
				}
			}
			if len(ported)+len(beyond)+lost != c.endpoints {
				t.Errorf("of %d, %d have a port, %d none, and %d are lost", c.endpoints, len(ported), len(beyond), lost)
			}
		})
	}
}

func TestCheckPort(t *testing.T) {
	for have, refused := range map[int]bool{0: false, overlay.MostPorts - 1: false, overlay.MostPorts: true, overlay.MostPorts + 5: true} {
		err := overlay.CheckPort("h1", have)
		if refused != (err != nil) {
			t.Errorf("beside %d: %v", have, err)
		}
		if refused && !strings.Contains(err.Error(), fmt.Sprintf("it has %d containers on host h1 already", have)) {
			t.Errorf("beside %d: %v", have, err)
		}
	}
}

// A host that has recorded more endpoints than its bridge has ports goes on with the others.
func TestPlanLeavesOutWhatIsBeyondABridge(t *testing.T) {
	s := snapshot()
	s.Local = crowd(overlay.MostPorts + 2)
	s.Local[0].Phase = overlay.Created // its port is kept for it
	n := overlay.Plan(s).Networks[0]
	if len(n.Ports) != overlay.MostPorts-1 || len(n.Remotes) == 0 {
		t.Errorf("%d ports, %d remotes", len(n.Ports), len(n.Remotes))
	}
	for _, e := range []overlay.Endpoint{s.Local[0], s.Local[overlay.MostPorts], s.Local[overlay.MostPorts+1]} {
		if slices.ContainsFunc(n.Ports, func(p overlay.Port) bool { return p.Endpoint == e.ID }) {
			t.Errorf("%s has a port", e.ID)
		}
	}
}
