package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// lookups asks for one name from within a container, 30 times a second and each
// time by a new socket, as most programs do.
type lookups struct {
	box
	name, want string

	mu                          sync.Mutex
	asked, wrong, refused, late int
	denied                      int    // NXDOMAIN, part of wrong
	first                       string // what was wrong first
	longest                     time.Duration
	maxTTL                      uint32
	slow                        []span // that took more than half of tooLate
	stop                        context.CancelFunc
	done                        chan struct{}
}

const tooLate = time.Second

// span is how long one lookup took.
type span struct{ began, ended time.Time }

func (s span) took() time.Duration { return s.ended.Sub(s.began) }

// excuse takes from the late ones those at whose time lookups of control were slow as
// well. control asks Docker for a name on a network of Docker's own: when that is slow,
// it is the machine that stands still.
func (l *lookups) excuse(control *lookups) {
	for _, s := range l.slow {
		if s.took() > tooLate && slices.ContainsFunc(control.slow, func(c span) bool { return c.began.Before(s.ended) && s.began.Before(c.ended) }) {
			l.late--
		}
	}
}

func (b box) lookups(name, want string) *lookups {
	ctx, stop := context.WithCancel(context.WithoutCancel(b.tb.Context()))
	l := &lookups{box: b, name: name, want: want, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		var under sync.WaitGroup
		defer under.Wait()
		tick := time.NewTicker(time.Second / 30)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				under.Go(l.one)
			}
		}
	}()
	return l
}

func (l *lookups) one() {
	began := time.Now()
	got, ttl, err := l.ask()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := span{began, time.Now()}
	took := now.took()
	if took > tooLate/2 {
		l.slow = append(l.slow, now)
	}
	l.asked, l.longest, l.maxTTL = l.asked+1, max(l.longest, took), max(l.maxTTL, ttl)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		l.refused++
	case took > tooLate:
		l.late++
	case err != nil || got != l.want:
		l.wrong++
		if got == "NXDOMAIN" {
			l.denied++
		}
	default:
		return
	}
	if l.first == "" {
		l.first = fmt.Sprintf("%q, %v, after %s", got, err, took)
	}
}

func (l *lookups) ask() (got string, ttl uint32, err error) {
	var c net.Conn
	err = lab.Inside(l.netns, func() (err error) {
		c, err = net.Dial("udp4", "127.0.0.11:53")
		return err
	})
	if err != nil {
		return "", 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(l.name), dns.TypeA)); err != nil {
		return "", 0, err
	}
	m, err := conn.ReadMsg()
	if err != nil {
		return "", 0, err
	}
	got = dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			got = a.A.String()
		}
		ttl = max(ttl, rr.Header().Ttl)
	}
	return got, ttl, nil
}

// end ends them, and gives how many were wrong, refused and late, without what control
// excuses, if there is one.
func (l *lookups) end(control ...*lookups) (wrong, refused, late int) {
	l.stop()
	<-l.done
	for _, c := range control {
		c.stop()
		<-c.done
		l.excuse(c)
	}
	l.tb.Logf("%s from %s: %d lookups, %d wrong, %d refused, %d later than %s, the longest %s, TTL at most %d; first %s",
		l.name, l.host, l.asked, l.wrong, l.refused, l.late, tooLate, l.longest.Round(time.Millisecond), l.maxTTL, l.first)
	return l.wrong, l.refused, l.late
}

// stoodInFor waits until the kernel will refuse the name in weft's place.
func (b box) stoodInFor(name string) {
	b.tb.Helper()
	set := fmt.Sprintf("names%d", len(name)+2) // with its length and the root's, as in a query
	eventually(b.tb, 5*time.Second, "the kernel has names like "+name, func() error {
		out, err := exec.CommandContext(b.tb.Context(), "nsenter", "--net="+b.netns, "nft", "list", "set", "ip", "weft-names", set).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// A weft that was killed, and is back after longer than its lease: nobody on another host notices, and on its own no lookup is refused, nor
// one of a name that Docker knows wrong.
func TestLookupsOverAKill(t *testing.T) {
	asks, near, far := trio(t, "kill-lookups")
	there := start(t, "h2", "there", "--network", "kill-lookups")
	asks.stoodInFor("far")
	// So few ports that sockets have the port of one before all the time.
	if err := lab.Inside(asks.netns, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40099"), 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	var leaked atomic.Int32
	world(t, func(w dns.ResponseWriter, m *dns.Msg) {
		if len(m.Question) == 1 && strings.HasPrefix(m.Question[0].Name, "far.") {
			leaked.Add(1)
		}
		_ = w.WriteMsg(new(dns.Msg).SetRcode(m, dns.RcodeNameError))
	})
	docker(t, "h2", "network", "create", "kill-control")
	t.Cleanup(func() {
		if _, err := cluster.Host("h2").Docker(context.WithoutCancel(t.Context()), "network", "rm", "kill-control"); err != nil {
			t.Error(err)
		}
	})
	plain := start(t, "h2", "plain", "--network", "kill-control")
	control := plain.lookups("plain", plain.ip("kill-control"))
	own, remote, other := asks.lookups("near", near), asks.lookups("far", far), there.lookups("near", near)
	h := cluster.Host("h1")
	time.Sleep(2 * time.Second) // of lookups before
	if err := h.Kill(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Second) // longer than its lease
	if err := h.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	asks.soon(5*time.Second, "far", dns.TypeA, far)
	time.Sleep(2 * time.Second) // of lookups after
	if wrong, refused, late := other.end(control); wrong+refused+late > 0 {
		t.Error("another host has noticed")
	}
	// What waits in a socket while its process dies is lost.
	const dying = 2
	if wrong, refused, late := own.end(control); wrong+refused > 0 || late > dying {
		t.Error("a name that Docker knows too is not answered all the time")
	}
	if _, refused, late := remote.end(control); refused > 0 || late > dying {
		t.Error("a name on another host is refused, or late")
	}
	if n := leaked.Load(); n > 0 || remote.denied > 0 {
		t.Errorf("a name on another host was asked %d times out in the world, and denied %d times", n, remote.denied)
	}
	for _, l := range []*lookups{other, remote} {
		if l.maxTTL > 2 {
			t.Errorf("%s from %s with a TTL of %d", l.name, l.host, l.maxTTL)
		}
	}
}

// A container that starts again, now with one address and now with another.
func TestNobodyKeepsTheOldAddress(t *testing.T) {
	asks, near, _ := trio(t, "kept")
	l := asks.lookups("near", near) // which is not always so
	for range 5 {
		docker(t, "h1", "restart", "-t0", "near")
	}
	l.end()
	if l.refused+l.late > 0 {
		t.Error("lookups are refused, or late")
	}
	if l.maxTTL > 2 {
		t.Errorf("an answer has a TTL of %d", l.maxTTL)
	}
}
