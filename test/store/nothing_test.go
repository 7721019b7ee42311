package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// A store that is wiped while all hosts have lost their state, and weft does not
// run anywhere, is filled again from what Docker and the kernels have.
func TestWipedWithAllStates(t *testing.T) { wipedWith(t, "h1", "h2", "h3") }

// Where others have kept their state, a host that has not is told by them.
func TestWipedWithOneState(t *testing.T) { wipedWith(t, "h1") }

func wipedWith(t *testing.T, hosts ...string) {
	s := newScene(t, "--label", "kept=yes")
	empty := s.n + "-empty" // no kernel has anything of it
	docker(t, "h2", "network", "create", "-d", "weft", "--ipam-driver", "weft", empty)
	before := s.record()
	agreed := logged(t, agree)

	s.each(func(h *lab.Host) error { return h.Kill(t.Context(), lab.Weft) })
	wipe(t)
	leader(t)
	for _, host := range hosts {
		must(t, os.RemoveAll(filepath.Join(cluster.Host(host).Dir(), "weft")))
	}
	s.each(func(h *lab.Host) error { return h.Start(t.Context(), lab.Weft) })

	eventually(t, 25*time.Second, "all records are back", func() error {
		if n := logged(t, agree) - agreed; n < len(hosts) {
			return fmt.Errorf("%d hosts say so", n)
		}
		return nil
	})
	for host := range s.ips {
		s.published(host, s.box(host))
	}
	s.claims()
	s.claimsAgain("h2")
	if after := s.record(); after != before {
		t.Errorf("the network is %s, and was %s", after, before)
	}
	for host, ip := range s.ips {
		if now := s.address(host, s.box(host)); now != ip {
			t.Errorf("%s has %s, and had %s", s.box(host), now, ip)
		}
		if given := s.start(host, s.n+"-new-"+host); slices.Contains(s.all(), given) {
			t.Errorf("a new container on %s has %s, which is taken", host, given)
		}
		docker(t, host, "exec", s.n+"-new-"+host, "ping", "-c1", "-W2", s.box("h3"))
	}
	eventually(t, 20*time.Second, "the empty network can be used", func() error {
		_, err := cluster.Host("h3").Docker(t.Context(), "run", "--rm", "--network", empty, "busybox", "true")
		return err
	})
	docker(t, "h3", "network", "rm", empty)
	s.each(func(h *lab.Host) error {
		labtest.Gone(t, 10*time.Second, empty, h)
		return nil
	})
	s.survived()
}

// agree is what a host's log says when it has all its records again.
const agree = "This host's records agree with what Docker has."

// network is what of a network must stay the same.
type network struct {
	ID, Name string
	VNI      uint32
	Subnets  []string
	MTU      int
}

// record is what weft says of the scene's network.
func (s *scene) record() string {
	s.t.Helper()
	for _, n := range labtest.Weft[[]network](s.t, cluster.Host("h2"), "network", "ls") {
		if n.Name == s.n {
			return fmt.Sprintf("%+v", n)
		}
	}
	s.t.Fatalf("h2 does not know %s", s.n)
	return ""
}

// each does the same on all hosts at once.
func (s *scene) each(do func(*lab.Host) error) {
	s.t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, len(cluster.Hosts()))
	for _, h := range cluster.Hosts() {
		wg.Go(func() { errs <- do(h) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		must(s.t, err)
	}
}

// all are the addresses of the scene's containers.
func (s *scene) all() []string {
	var out []string
	for _, ip := range s.ips {
		out = append(out, strings.TrimSpace(ip))
	}
	return out
}
