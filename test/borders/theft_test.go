package borders

import (
	"bufio"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/dataplane/fastpath"
	"github.com/weft-net/weft/test/borders/craft"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// flows is how many connections the members have while a thief listens.
const flows = 50

// theft is the other direction: a container without rights that makes the host's
// firewall take what h2's tunnels send for answers to it. It must hear nothing, and
// the members must hear all.
func (s *site) theft(f firewall, family int) {
	s.t.Helper()
	defer s.forget()
	thief, done := s.thief(family)
	s.rows++
	row := s.rows
	s.talk(row)
	deadline := time.Now().Add(10 * time.Second)
	for s.watch.at(row, "victim1") < flows && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if got, stolen := s.watch.at(row, "victim1"), thief.Load(); got < flows || stolen > 0 {
		s.t.Errorf("%s, container without rights over IPv%d: of %d flows %d arrived, and it heard %d", f.name, family, flows, got, stolen)
	}
	done()
	if !f.translates {
		return
	}
	s.unguarded(func() {
		s.slowly() // on the fast path no connection is looked for
		thief, done := s.thief(family)
		defer done()
		labtest.Eventually(s.t, 10*time.Second, "without guard the thief hears", func() error {
			s.talk(row)
			if thief.Load() == 0 {
				return fmt.Errorf("it has heard nothing yet")
			}
			return nil
		})
	})
}

// slowly takes the fast path from h1's underlay until weft, which is paused, goes on.
func (s *site) slowly() {
	s.t.Helper()
	err := lab.Inside(s.h1.Netns(), func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			if err := fastpath.Detach(l.Attrs().Index); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal("take the fast path away: ", err)
	}
}

// forget has h1 forget all connections, or a translation is not the attacker's own:
// of two that would look the same from h2 the second gets another port.
func (s *site) forget() {
	s.t.Helper()
	err := lab.Inside(s.h1.Netns(), func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		s.t.Fatal("flush conntrack: ", err)
	}
}

// talk has a member on h2 send in as many flows to the one on h1.
func (s *site) talk(row uint16) {
	s.t.Helper()
	for i := range flows {
		mark := craft.Mark{Row: row, Index: uint32(i), Pieces: 1}
		if err := s.tell(s.boxes["victim2"], s.boxes["victim1"].Addr4, mark); err != nil {
			s.t.Fatal(err)
		}
	}
}

// thief starts one on h1 and returns when it listens, with what counts what it hears
// and what ends it.
func (s *site) thief(family int) (heard *atomic.Int64, done func()) {
	s.t.Helper()
	s.forget()
	job, err := json.Marshal(craft.Job{Way: craft.Theft, UDP: vxlanPort, Targets: to(craft.MAC{}, underlay(s.h2, family))})
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := s.h1.Command(s.t.Context(), "docker", "exec", "-i", "behind-bare", "/shooter", string(job))
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		s.t.Fatalf("the thief says %q, not that it is ready (%v)", lines.Text(), lines.Err())
	}
	heard, ended := new(atomic.Int64), make(chan struct{})
	go func() {
		defer close(ended)
		for lines.Scan() {
			heard.Add(1)
		}
	}()
	return heard, func() {
		in.Close()
		<-ended
		if err := cmd.Wait(); err != nil {
			s.t.Errorf("the thief: %v", err)
		}
	}
}
