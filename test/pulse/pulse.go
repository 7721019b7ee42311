package pulse

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// every is the time between two packets, and between two messages of the stream.
const every = 10 * time.Millisecond

// End is a container.
type End struct {
	Netns string     // path of its network namespace
	Addr  netip.Addr // IPv4, in the network that both ends share
	Name  string     // by which the other one finds it
}

// Pulse is the traffic between two ends: 100 packets a second each way, a
// message and its answer every 10 ms on one TCP connection from the first to the
// second, and up to ten lookups a second each way.
type Pulse struct {
	pings   []*Pings
	stream  *stream
	lookups []*lookups
}

// Result is what became of it.
type Result struct {
	Sent, Lost    int           // packets; one that is not answered within 3 s is lost
	Stall         time.Duration // the longest time without an answer on the connection; 10 ms is none
	Broken        string        // why the connection broke, empty if it did not
	Asked, Failed int           // lookups; one has failed that has not the address within 2 s
}

// New opens the sockets and connects. Traffic begins with Run.
func New(ctx context.Context, a, b End) (*Pulse, error) {
	p := &Pulse{}
	for _, way := range [][2]End{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		one, err := NewPings(from.Netns, to.Addr, every)
		if err != nil {
			p.close()
			return nil, err
		}
		p.pings = append(p.pings, one)
		p.lookups = append(p.lookups, &lookups{netns: from.Netns, name: to.Name, want: to.Addr})
	}
	var err error
	if p.stream, err = newStream(ctx, a.Netns, b.Netns, b.Addr); err != nil {
		p.close()
		return nil, fmt.Errorf("between %s and %s: %w", a.Name, b.Name, err)
	}
	return p, nil
}

func (p *Pulse) close() {
	for _, one := range p.pings {
		one.conn.Close()
	}
}

// Run keeps the traffic going until ctx ends, and closes all sockets. It takes
// up to 3 s longer, for the last answers.
func (p *Pulse) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, one := range p.pings {
		all.Go(func() { one.Run(ctx) })
	}
	for _, one := range p.lookups {
		all.Go(func() { one.run(ctx) })
	}
	all.Go(func() { p.stream.run(ctx) })
	all.Wait()
}

// Result tells what became of the traffic, once Run has returned.
func (p *Pulse) Result() Result {
	var r Result
	for _, one := range p.pings {
		r.Sent += one.Sent()
		r.Lost += one.Lost()
	}
	for _, one := range p.lookups {
		r.Asked += one.asked
		r.Failed += one.failed
	}
	r.Stall, r.Broken = p.stream.result()
	return r
}
