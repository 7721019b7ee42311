package main

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// eyes watch what one host knows. A host knows of a change once it has made a pass with
// it: a snapshot that shows the change was planned, and handed to the kernel.
type eyes struct {
	ledger  *ledger
	waiting *atomic.Int64 // changes that some host does not know, of all hosts
	deaths  *falseDeaths

	mu      sync.Mutex                // guards all following fields
	pending map[string][]*expectation // by network id
	seen    []*expectation            // shown by the snapshot of the pass under way
	silent  map[string]bool           // hosts that were silent in the last snapshot
	hosts   map[string]bool           // hosts that were there in the last snapshot
	wishes  []func(overlay.Snapshot) bool
}

// falseDeaths count how often a host took a living one for silent, or for dead.
type falseDeaths struct{ silent, down atomic.Int64 }

// expectation is that one host will know of one change.
type expectation struct {
	endpoint
	stops  bool // it will know that the endpoint is gone
	change *change
	has    bool // the host has the network itself; set when it knows
}

// change is a start or a stop that hosts are to know.
type change struct {
	kind  kind
	began time.Time

	mu      sync.Mutex    // guards all following fields
	left    int           // hosts that do not know it
	void    bool          // it was overtaken by another one, or its host died
	has     time.Duration // until all hosts with the network knew it
	anybody bool          // there was such a host
	all     time.Duration // until all hosts knew it
}

func newEyes(l *ledger, waiting *atomic.Int64, deaths *falseDeaths) *eyes {
	return &eyes{
		ledger: l, waiting: waiting, deaths: deaths, pending: map[string][]*expectation{},
		silent: map[string]bool{}, hosts: map[string]bool{},
	}
}

// expect has the eyes look for a change.
func (y *eyes) expect(x *expectation) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.pending[x.network] = append(y.pending[x.network], x)
	y.waiting.Add(1)
}

// wish calls met with each snapshot until it returns true.
func (y *eyes) wish(met func(overlay.Snapshot) bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.wishes = append(y.wishes, met)
}

// look takes the snapshot of a pass that begins.
func (y *eyes) look(s overlay.Snapshot) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.lookForDeathsLocked(s)
	y.wishes = slices.DeleteFunc(y.wishes, func(met func(overlay.Snapshot) bool) bool { return met(s) })
	for network, list := range y.pending {
		has := slices.ContainsFunc(s.Local, func(e overlay.Endpoint) bool { return e.Network == network })
		of := map[string]overlay.Attachment{}
		for _, at := range s.Peers[network] {
			of[at.Host] = at
		}
		y.pending[network] = slices.DeleteFunc(list, func(x *expectation) bool {
			if !x.shownBy(of[x.host]) {
				return false
			}
			x.has = has
			y.seen = append(y.seen, x)
			return true
		})
		if len(y.pending[network]) == 0 {
			delete(y.pending, network)
		}
	}
}

// shownBy says whether the attachment shows the change.
func (x *expectation) shownBy(at overlay.Attachment) bool {
	i := slices.IndexFunc(at.Endpoints, func(e overlay.PeerEndpoint) bool { return e.ID == x.id })
	if x.stops {
		return i < 0
	}
	return i >= 0 && at.Endpoints[i].Name == x.name
}

// lookForDeathsLocked counts living hosts that this one has begun to take for silent or dead.
func (y *eyes) lookForDeathsLocked(s overlay.Snapshot) {
	for host, silent := range s.Silent {
		if silent && !y.silent[host] && y.ledger.isAlive(host) {
			y.deaths.silent.Add(1)
		}
	}
	for host := range y.hosts {
		if _, there := s.Hosts[host]; !there && y.ledger.isAlive(host) {
			y.deaths.down.Add(1)
		}
	}
	clear(y.silent)
	clear(y.hosts)
	maps.Copy(y.silent, s.Silent)
	for host := range s.Hosts {
		y.hosts[host] = true
	}
}

// acted says that the plan from the last snapshot was handed to the kernel.
func (y *eyes) acted() {
	now := time.Now()
	y.mu.Lock()
	seen := y.seen
	y.seen = nil
	y.mu.Unlock()
	for _, x := range seen {
		x.change.known(now, x.has)
	}
	y.waiting.Add(-int64(len(seen)))
}

// overtaken ends the wait for changes that hold no more: those of the endpoint, or all of
// the host if the endpoint has no id.
func (y *eyes) overtaken(e endpoint) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for network, list := range y.pending {
		y.pending[network] = slices.DeleteFunc(list, func(x *expectation) bool {
			if x.host != e.host || e.id != "" && x.id != e.id {
				return false
			}
			x.change.lapse()
			y.waiting.Add(-1)
			return true
		})
	}
}

// shut ends all waits of a host that has died.
func (y *eyes) shut() {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, list := range append([][]*expectation{y.seen}, slices.Collect(maps.Values(y.pending))...) {
		for _, x := range list {
			x.change.known(time.Time{}, false)
			y.waiting.Add(-1)
		}
	}
	y.seen = nil
	clear(y.pending)
	y.wishes = nil
}

// known notes that one more host knows the change; the zero time: that it never will.
func (c *change) known(at time.Time, has bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	if at.IsZero() {
		return
	}
	c.all = max(c.all, at.Sub(c.began))
	if has {
		c.has, c.anybody = max(c.has, at.Sub(c.began)), true
	}
}

// lapse says that one host will not know the change, and need not.
func (c *change) lapse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	c.void = true
}
