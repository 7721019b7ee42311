package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

// cluster is all hosts and the three Consul servers.
type cluster struct {
	settings
	states string
	log    logrus.FieldLogger

	servers  []*consultest.Server
	ledger   *ledger
	waiting  atomic.Int64
	deaths   falseDeaths
	networks []string // weft's ids

	mu    sync.Mutex    // guards what follows
	hosts map[int]*host // that live
	dead  []*host
}

// mostHosts is how many hosts have addresses in the block.
const mostHosts = 60_000

// openCluster starts the servers.
func openCluster(s settings, dir, states string, log logrus.FieldLogger) (*cluster, error) {
	servers, err := consultest.NewCluster(filepath.Join(dir, "consul"), 3)
	if err != nil {
		return nil, err
	}
	return &cluster{settings: s, states: states, log: log, servers: servers, ledger: newLedger(), hosts: map[int]*host{}}, nil
}

// address is that of a host.
func address(i int) netip.Addr {
	b := block.Addr().As4()
	b[2], b[3] = byte(i/250), byte(i%250+1) //nolint:gosec // below mostHosts
	return netip.AddrFrom4(b)
}

// add starts a host.
func (c *cluster) add(ctx context.Context, i int) (*host, error) {
	name := fmt.Sprintf("h%d", i)
	var servers []string
	for _, s := range c.servers {
		servers = append(servers, s.Addr)
	}
	h, err := newHost(ctx, hostConfig{
		name: name, dir: c.states, consul: servers, wire: newWire(address(i), c.Loss),
		eyes: newEyes(c.ledger, &c.waiting, &c.deaths), ledger: c.ledger, log: c.log,
	})
	if err != nil {
		return nil, err
	}
	c.ledger.lives(name, true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[i] = h
	return h, nil
}

// joinAtOnce is how many hosts start at the same time in the beginning.
const joinAtOnce = 16

// begin starts all hosts, and makes the networks on the first one.
func (c *cluster) begin(ctx context.Context) error {
	first, err := c.add(ctx, 0)
	if err != nil {
		return err
	}
	for i := range c.Networks {
		var n overlay.Network
		err := c.insist(ctx, func() (err error) {
			n, err = first.docker.make(ctx, n)
			return err
		})
		if err == nil {
			err = c.insist(ctx, func() error { return first.docker.name(ctx, n.ID, fmt.Sprintf("net%d", i)) })
		}
		if err != nil {
			return err
		}
		c.networks = append(c.networks, n.ID)
	}
	var g errgroup.Group
	g.SetLimit(joinAtOnce)
	for i := 1; i < c.Hosts; i++ {
		g.Go(func() error {
			_, err := c.add(ctx, i)
			return err
		})
	}
	return g.Wait()
}

// ready waits until all hosts have all networks, and then until all may claim addresses.
func (c *cluster) ready(ctx context.Context) (have, claim time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	for _, h := range c.living() {
		for _, n := range c.networks {
			if _, err := h.docker.await(ctx, n); err != nil {
				return have, claim, err
			}
		}
	}
	have = time.Now()
	for _, h := range c.living() {
		err := c.insist(ctx, func() error {
			_, _, err := h.registry.Claims().Admit()
			return err
		})
		if err != nil {
			return have, claim, fmt.Errorf("%s may not claim: %w", h.name, err)
		}
	}
	return have, time.Now(), nil
}

// insist does what a cluster that has just begun, or is without its store, refuses for a
// while.
func (c *cluster) insist(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	for {
		err := do()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// living are the hosts that live, sorted by name.
func (c *cluster) living() []*host {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*host
	for _, h := range c.hosts {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b *host) int { return a.wire.from.Compare(b.wire.from) })
	return out
}

// all are the living and the dead, as what they have sent counts.
func (c *cluster) all() []*host {
	living := c.living()
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(living, c.dead...)
}

// host gives a host that lives.
func (c *cluster) host(i int) (*host, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, lives := c.hosts[i]
	return h, lives
}

// kill has a host die.
func (c *cluster) kill(ctx context.Context, i int) (*host, error) {
	c.mu.Lock()
	h := c.hosts[i]
	delete(c.hosts, i)
	c.dead = append(c.dead, h)
	c.mu.Unlock()
	c.ledger.lives(h.name, false)
	for _, other := range c.living() {
		other.eyes.overtaken(endpoint{host: h.name})
	}
	err := h.die(ctx)
	h.eyes.shut()
	return h, err
}

// storeAway takes the store away.
func (c *cluster) storeAway() {
	var g sync.WaitGroup
	for _, s := range c.servers {
		g.Go(s.Kill)
	}
	g.Wait()
}

// storeBack brings it back, with its data.
func (c *cluster) storeBack() error { return consultest.RestartAll(c.servers) }

// lookAgain is how often it is looked whether everybody knows everything.
const lookAgain = 100 * time.Millisecond

// stillFor is how often in a row nothing may have been under way.
const stillFor = 5

// settle waits until each change has come to each host, and until the store has been told.
// since is when the last of it was seen under way.
func (c *cluster) settle(ctx context.Context) (since time.Time, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Patience, fmt.Errorf("it does not come within %v", c.Patience))
	defer cancel()
	since = time.Now()
	for writes, still := c.writes(), 0; still < stillFor; {
		select {
		case <-ctx.Done():
			return since, fmt.Errorf("%d times a host waits for a change: %w", c.waiting.Load(), context.Cause(ctx))
		case <-time.After(lookAgain):
		}
		now := c.writes()
		still++
		if c.waiting.Load() > 0 || now != writes {
			still, since = 0, time.Now()
		}
		writes = now
	}
	return since, nil
}

// writes are the transactions so far.
func (c *cluster) writes() (n uint64) {
	for _, h := range c.all() {
		n += h.wire.writes.Load()
	}
	return n
}

// whole waits until each host knows everything that is true, and fails with what one does
// not know.
func (c *cluster) whole(ctx context.Context) error {
	for _, h := range c.living() {
		err := c.insist(ctx, func() error {
			if missing := c.ledger.missing(h.registry.Snapshot()); missing != "" {
				return errors.New(missing)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// duplicates are the addresses that were given out twice, or that two hosts have claimed.
func (c *cluster) duplicates() []string {
	out := c.ledger.duplicates()
	claimed := map[netip.Addr]string{}
	for _, h := range c.living() {
		for _, pool := range h.docker.pools() {
			id, err := space.ParsePoolID(pool)
			if err != nil {
				out = append(out, err.Error())
				continue
			}
			for _, claim := range h.allocator.Claims(id.Subnet) {
				if other, has := claimed[claim.Addr]; has {
					out = append(out, fmt.Sprintf("%v is claimed by %s and %s", claim.Addr, other, h.name))
				}
				claimed[claim.Addr] = h.name
			}
		}
	}
	return out
}

// close ends all hosts in order, and then the servers.
func (c *cluster) close() error {
	var g errgroup.Group
	for _, h := range c.living() {
		g.Go(h.end)
	}
	err := g.Wait()
	for _, h := range c.dead {
		if h.grave != nil {
			err = errors.Join(err, h.grave.Close())
		}
	}
	for _, s := range c.servers {
		s.Stop()
	}
	return err
}
