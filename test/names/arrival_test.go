package names

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weft-net/weft/test/lab"
)

// How many names there are, each of one container, and how often one of these is
// restarted.
var (
	upstreams = flag.Int("upstreams", 6, "how many names TestNobodyWaitsForAContainerThatStarts has")
	restarts  = flag.Int("restarts", 9, "how many of their containers it restarts")
)

// hurry is how long the proxy waits for a connection, as nginx does that is in a
// hurry. A packet that is lost is sent again after it.
const hurry = time.Second

// proxy connects to a port of each name again and again, as nginx does: an answer is
// kept for its TTL, and nothing that is no answer.
type proxy struct {
	box
	names []string
	stop  context.CancelFunc
	done  chan struct{}

	mu                sync.Mutex
	known             map[string]known
	refused, nameless int
	waited            []span // that nobody answered in time
	slow              []span // that took half of it or more
	strange           error
}

// known is an answer that is kept.
type known struct {
	addr  netip.Addr
	until time.Time
}

// proxies begins to connect to each of the names five times a second.
func (b box) proxies(names ...string) *proxy {
	ctx, stop := context.WithCancel(context.WithoutCancel(b.tb.Context()))
	p := &proxy{box: b, names: names, stop: stop, done: make(chan struct{}), known: map[string]known{}}
	go func() {
		defer close(p.done)
		var under sync.WaitGroup
		defer under.Wait()
		tick := time.NewTicker(200 * time.Millisecond / time.Duration(len(names)))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				under.Go(func() { p.one(names[i%len(names)]) })
			}
		}
	}()
	return p
}

// one is one request.
func (p *proxy) one(name string) {
	addr, err := p.lookup(name)
	began := time.Now()
	if err == nil && addr.IsValid() {
		err = lab.Inside(p.netns, func() error {
			c, err := net.DialTimeout("tcp4", netip.AddrPortFrom(addr, 7000).String(), hurry)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	now := span{began, time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.took() > hurry/2 {
		p.slow = append(p.slow, now)
	}
	switch {
	case err == nil && !addr.IsValid():
		p.nameless++
	case isTimeout(err):
		p.waited = append(p.waited, now)
		p.tb.Logf("%s on %s: %s at %s: %v", began.Format("05.000"), p.host, name, addr, err)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH):
		p.refused++
	case err == nil:
		p.strange = fmt.Errorf("somebody listens at %s", addr)
	default:
		p.strange = err
	}
}

// lookup gives the name's address; an invalid one if it has none.
func (p *proxy) lookup(name string) (netip.Addr, error) {
	p.mu.Lock()
	k, ok := p.known[name]
	p.mu.Unlock()
	if ok && time.Now().Before(k.until) {
		return k.addr, nil
	}
	var c net.Conn
	err := lab.Inside(p.netns, func() (err error) {
		c, err = net.Dial("udp4", "127.0.0.11:53")
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(givesUp))
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)); err != nil {
		return netip.Addr{}, err
	}
	m, err := conn.ReadMsg()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("look %s up: %w", name, err)
	}
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			k.addr, _ = netip.AddrFromSlice(a.A.To4())
			k.until = time.Now().Add(time.Duration(a.Hdr.Ttl) * time.Second)
			p.mu.Lock()
			p.known[name] = k
			p.mu.Unlock()
			return k.addr, nil
		}
	}
	return netip.Addr{}, nil
}

// end stops, and gives how many requests have waited in vain, but for those at whose time
// control was slow too: then it is the machine that stands still.
func (p *proxy) end(control *proxy) (waited int) {
	p.stop()
	<-p.done
	if control == nil {
		return len(p.waited)
	}
	for _, s := range p.waited {
		if !slices.ContainsFunc(control.slow, func(c span) bool { return c.began.Before(s.ended) && s.began.Before(c.ended) }) {
			waited++
		}
	}
	p.tb.Logf("from %s: %d refused, %d without an address, %d waited in vain, %d of them while the machine had time; the slowest %v (%v)",
		p.host, p.refused, p.nameless, len(p.waited), waited, slowest(p.slow), p.strange)
	return waited
}

func slowest(list []span) time.Duration {
	if len(list) == 0 {
		return 0
	}
	return slices.MaxFunc(list, func(a, b span) int { return cmp.Compare(a.took(), b.took()) }).took()
}

// While a container starts again nobody serves its name. Who asks for it is told so at
// once. Nobody listens in these containers either: their kernels say so, also at once.
func TestNobodyWaitsForAContainerThatStarts(t *testing.T) {
	n := network(t, "arrive")
	docker(t, "h2", "network", "create", "arrive-control")
	t.Cleanup(func() {
		if _, err := cluster.Host("h2").Docker(context.WithoutCancel(t.Context()), "network", "rm", "arrive-control"); err != nil {
			t.Error(err)
		}
	})
	hosts := []string{"h1", "h2"}
	var names []string
	for i := range *upstreams {
		names = append(names, fmt.Sprint("up", i))
		start(t, hosts[i%2], names[i], "--network", n)
	}
	start(t, "h2", "steady", "--network", "arrive-control")
	control := start(t, "h2", "arrive-plain", "--network", "arrive-control").proxies("steady")
	var all []*proxy
	for _, h := range hosts {
		all = append(all, start(t, h, "arrive-"+h, "--network", n).proxies(names...))
	}
	for i := range *restarts {
		docker(t, hosts[i%*upstreams%2], "restart", "-t0", names[i%*upstreams])
	}
	time.Sleep(hurry)
	control.end(nil)
	for _, p := range all {
		if p.end(control) > 0 || p.strange != nil {
			t.Errorf("from %s: somebody waits for a container that starts", p.host)
		}
		if p.refused == 0 {
			t.Errorf("from %s: nobody was ever reached", p.host)
		}
	}
}
