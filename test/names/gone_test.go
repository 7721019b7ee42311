package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

const (
	// repeated is when TCP sends again what was not answered, for the first time.
	repeated = time.Second
	// givesUp is longer than a busy machine keeps an answer: who is not refused by
	// then meets silence. Without a refusal nobody answers for two minutes.
	givesUp = 15 * time.Second
	// quick is what a refusal takes at most while the machine has time for it.
	quick = 100 * time.Millisecond
)

// connects goes on connecting to a port from within a container, as a proxy does.
type connects struct {
	box
	to netip.AddrPort

	mu      sync.Mutex
	refused int
	silent  int // that nobody answered
	open    int // that somebody took
	strange error
	longest time.Duration // until one was refused
	fastest time.Duration
	stop    context.CancelFunc
	done    chan struct{}
}

func (b box) connects(to netip.AddrPort) *connects {
	ctx, stop := context.WithCancel(context.WithoutCancel(b.tb.Context()))
	l := &connects{box: b, to: to, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		var under sync.WaitGroup
		defer under.Wait()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				under.Go(func() { _ = l.one() })
			}
		}
	}()
	return l
}

// one is one connection.
func (l *connects) one() error {
	began := time.Now()
	err := lab.Inside(l.netns, func() error {
		c, err := net.DialTimeout("tcp", l.to.String(), givesUp)
		if err == nil {
			c.Close()
		}
		return err
	})
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.open++
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH):
		l.refused++
		l.longest, l.fastest = max(l.longest, took), min(l.fastest, took)
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		l.silent++
	default:
		l.strange = err
	}
	return err
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// begin makes what comes from now on count.
func (l *connects) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused, l.silent, l.open, l.strange, l.longest, l.fastest = 0, 0, 0, nil, 0, givesUp
}

// end stops and says what came.
func (l *connects) end() {
	l.tb.Helper()
	l.stop()
	<-l.done
	what := fmt.Sprintf("from %s on %s to %s: %d refused in %v to %v, %d unanswered, %d open", l.name, l.host, l.to, l.refused, l.fastest, l.longest, l.silent, l.open)
	if l.silent > 0 || l.strange != nil || l.refused == 0 || l.fastest > quick {
		l.tb.Errorf("%s (%v)", what, l.strange)
		return
	}
	l.tb.Log(what)
}

func (b box) addrs(network string) []netip.AddrPort {
	b.tb.Helper()
	var out []netip.AddrPort
	for _, field := range []string{"IPAddress", "GlobalIPv6Address"} {
		text := docker(b.tb, b.host, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).%s}}", network, field), b.name)
		addr, err := netip.ParseAddr(text)
		if err != nil {
			b.tb.Fatalf("%s of %s: %v", field, b.name, err)
		}
		out = append(out, netip.AddrPortFrom(addr, 7000))
	}
	return out
}

func TestAContainerThatStopsIsRefusedAtOnce(t *testing.T) {
	net1 := network(t, "gone", "--subnet", "10.77.0.0/24", "--subnet", "fd77::/64", "--ipv6")
	clients := []box{start(t, "h1", "gone-a", "--network", net1), start(t, "h2", "gone-b", "--network", net1)}
	for round := range 2 {
		goes := start(t, "h1", fmt.Sprint("gone-", round), "--network", net1)
		targets := goes.addrs(net1)
		var all []*connects
		for _, c := range clients {
			for _, to := range targets {
				l := c.connects(to)
				all = append(all, l)
				eventually(t, 10*time.Second, "nobody listens yet", func() error { // nor is it unknown
					if err := l.one(); !errors.Is(err, syscall.ECONNREFUSED) {
						return err
					}
					return nil
				})
			}
		}
		goes.Remove()
		for _, l := range all {
			l.mu.Lock()
			if l.silent > 0 || l.strange != nil {
				t.Errorf("while it was removed, from %s to %s: %d unanswered (%v)", l.host, l.to, l.silent, l.strange)
			}
			l.mu.Unlock()
			l.begin() // its link is gone from now on
		}
		time.Sleep(repeated)
		for _, l := range all {
			l.end()
		}

		// Whoever gets its addresses is there at once.
		next := start(t, "h1", fmt.Sprint("gone-next-", round), "--network", net1, "--ip", targets[0].Addr().String(), "--ip6", targets[1].Addr().String())
		err := lab.Inside(next.netns, func() error {
			l, err := net.Listen("tcp", ":7000")
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range all {
			if err := l.one(); err != nil {
				t.Errorf("to the next container that has %s, from %s: %v", l.to, l.host, err)
			}
		}
		next.Remove()
	}
}
