package pulse

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/weft-net/weft/test/lab"
)

// resolver is where containers ask for names.
const resolver = "127.0.0.11:53"

// Lookup asks the namespace's resolver once for the IPv4 addresses of a name.
// No address is no error.
func Lookup(ctx context.Context, netns, name string, limit time.Duration) ([]netip.Addr, error) {
	found, err := LookupAll(ctx, netns, []string{name}, limit)
	return found[name], err
}

// LookupAll asks for several names at once, and returns what has come within the
// limit. An error says that some have no answer.
func LookupAll(ctx context.Context, netns string, names []string, limit time.Duration) (map[string][]netip.Addr, error) {
	var conn net.Conn
	err := lab.Inside(netns, func() (err error) {
		d := net.Dialer{FallbackDelay: -1}
		conn, err = d.DialContext(ctx, "udp4", resolver)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", names, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, fmt.Errorf("look up %s: %w", names, err)
	}
	c := &dns.Conn{Conn: conn}
	asked := map[uint16]string{} // by the query's id
	for _, name := range names {
		q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
		for asked[q.Id] != "" {
			q.Id = dns.Id()
		}
		asked[q.Id] = name
		if err := c.WriteMsg(q); err != nil {
			return nil, fmt.Errorf("look up %s: %w", name, err)
		}
	}
	out := map[string][]netip.Addr{}
	for len(asked) > 0 {
		m, err := c.ReadMsg()
		if err != nil {
			return out, fmt.Errorf("look up %s: %w", slices.Sorted(maps.Values(asked)), err)
		}
		for _, rr := range m.Answer {
			if a, ok := rr.(*dns.A); ok {
				addr, _ := netip.AddrFromSlice(a.A.To4())
				out[asked[m.Id]] = append(out[asked[m.Id]], addr)
			}
		}
		delete(asked, m.Id)
	}
	return out, nil
}

// Lookups of a Pulse: each way one every 100 ms unless one waits, and one that
// has not the address within 2 s has failed.
const (
	often   = 100 * time.Millisecond
	tooLong = 2 * time.Second
)

// lookups is one way's.
type lookups struct {
	netns, name string
	want        netip.Addr

	mu            sync.Mutex
	asked, failed int
}

func (l *lookups) run(ctx context.Context) {
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		found, err := Lookup(ctx, l.netns, l.name, tooLong)
		if ctx.Err() != nil {
			return // it may be why
		}
		l.mu.Lock()
		l.asked++
		if err != nil || !slices.Contains(found, l.want) {
			l.failed++
		}
		l.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
