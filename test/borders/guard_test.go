package borders

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// guard is where weft's tables are: in the hosts' namespaces and in those of the networks.
type guard struct {
	host  *lab.Host
	enter []string
	table []string
}

func (s *site) guards() []guard {
	var out []guard
	for _, h := range []*lab.Host{s.h1, s.h2} {
		out = append(out, guard{h, nil, []string{"table", "inet", "weft"}})
		for _, n := range []network{s.victim, s.other} {
			out = append(out, guard{h, []string{"nsenter", "--net=" + n.netns, "--"}, []string{"table", "netdev", "weft"}})
		}
	}
	return out
}

func (g guard) nft(s *site, verb string) error {
	argv := append(append([]string{}, g.enter...), "nft", verb)
	_, err := g.host.Run(s.t.Context(), append(argv, g.table...)...)
	return err
}

// unguarded calls f while weft's tables are gone. weft is paused, for it would make
// them again.
func (s *site) unguarded(f func()) {
	s.t.Helper()
	signal := func(sig unix.Signal) {
		for _, h := range []*lab.Host{s.h1, s.h2} {
			if err := h.Signal(lab.Weft, sig); err != nil {
				s.t.Error(err)
			}
		}
	}
	signal(unix.SIGSTOP)
	defer func() {
		signal(unix.SIGCONT)
		for _, g := range s.guards() {
			labtest.Eventually(s.t, 30*time.Second, g.host.Name()+" is guarded again", func() error { return g.nft(s, "list") })
		}
	}()
	// A call that weft was making when it was stopped may still be carried out.
	for range 2 {
		for _, g := range s.guards() {
			labtest.Eventually(s.t, 30*time.Second, g.host.Name()+" is not guarded", func() error {
				if g.nft(s, "list") != nil {
					return nil
				}
				return errors.Join(errors.New("the table is there"), g.nft(s, "delete"))
			})
		}
	}
	f()
}
