package borders

import (
	"fmt"
	"os"
	"testing"

	"github.com/weft-net/weft/test/borders/craft"
	"github.com/weft-net/weft/test/machine"
)

func TestBorders(t *testing.T) {
	all, families := firewalls(t), []int{4, 6}
	if *peer == "swarm" {
		families = []int{4} // Docker's overlay goes over nothing else, up to Docker 28
	}
	var rows []row
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			s := newSite(t, f)
			for _, family := range families {
				t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
					rows = append(rows, s.play(t, f, family, *frames/(len(all)*len(families)))...)
				})
			}
		})
	}
	lines := [][]string{{"firewall", "attacker", "underlay", "sent", "refused", "inside"}}
	sum := row{attacker: "all"}
	for _, r := range append(rows, sum) {
		underlay := ""
		if r.family != 0 {
			underlay = fmt.Sprintf("IPv%d", r.family)
		} else {
			r = sum
		}
		sum.sent, sum.refused, sum.inside = sum.sent+r.sent, sum.refused+r.refused, append(sum.inside, r.inside...)
		lines = append(lines, []string{r.firewall, r.attacker, underlay, fmt.Sprint(r.sent), fmt.Sprint(r.refused), fmt.Sprint(len(r.inside))})
	}
	machine.Table(os.Stdout, lines)
}

// play has all attackers attack over one family with so many datagrams, with the
// guard and without.
func (s *site) play(t *testing.T, f firewall, family, datagrams int) []row {
	s.t = t
	if family == 6 {
		s.use(family)
	}
	s.members()
	attacks := s.attacks(family)
	rows := s.shoot(f, family, attacks, func(*craft.Job) int { return max(1, datagrams/len(attacks)) })
	if *peer == "swarm" {
		for _, r := range rows {
			t.Logf("%s: %s", r.attacker, r.shapes())
		}
		return rows
	}
	for _, r := range rows {
		if n := len(r.inside); n > 0 {
			t.Errorf("%s, %s over IPv%d: %d of %d are inside: %s", r.firewall, r.attacker, family, n, r.sent, r.shapes())
		}
	}
	// A guard that has nothing to do proves nothing.
	t.Run("without guard", func(t *testing.T) {
		s.t = t
		s.unguarded(func() {
			for _, r := range s.shoot(f, family, attacks, func(j *craft.Job) int { return max(200, j.Shapes()) }) {
				if len(r.inside) == 0 {
					t.Errorf("%s, %s over IPv%d: none of %d is inside, though nobody guards", r.firewall, r.attacker, family, r.sent)
				}
				t.Logf("%s: %d of %d inside", r.attacker, len(r.inside), r.sent)
			}
		})
	})
	s.t = t
	s.members()
	t.Run("theft", func(t *testing.T) {
		s.t = t
		s.theft(f, family)
	})
	s.t = t
	return rows
}
