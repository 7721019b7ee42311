package registry

import (
	"slices"
	"time"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// publication is how far the store has what this host has told it.
type publication struct {
	*core
	epochs  *epochs
	place   *place
	observe Observer

	once   bool // the store has had this host's record
	reread bool // the store may have lost this host's record since, or have something else
	lag    watchLag
}

// republishAll has the store looked through and told everything again, and this host's
// claims compared with it. The way to the lease does so too. But a snapshot may hold the
// lease, and a process that waits for its end has compared its claims before.
func (p *publication) republishAll() {
	p.mu.Lock()
	p.reread, p.lag.seen, p.place.unsure = true, 0, true
	p.epochs.compareClaimsLocked()
	p.mu.Unlock()
	p.local.send()
}

// takeReread says once that the store is to be read again, since it may have lost what
// it had of this host.
func (p *publication) takeReread() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	reread := p.reread
	p.reread = false
	return reread
}

// watchLag tells how long this host's own record takes through the store.
type watchLag struct {
	seen    uint64    // revision that the watch showed last
	waiting uint64    // revision of the first write that it has not shown; 0: none
	since   time.Time // when that write began
}

// wroteLocked notes a write of the own record, and gives how long it took if
// the watch has shown it already; else 0.
func (e *watchLag) wroteLocked(revision uint64, began time.Time) time.Duration {
	if revision <= e.seen {
		return time.Since(began)
	}
	if e.waiting == 0 || revision < e.waiting { // less after the store has lost its data
		e.waiting, e.since = revision, began
	}
	return 0
}

// sawLocked notes what the watch shows, and gives how long it took if a write
// was waited for; else 0.
func (e *watchLag) sawLocked(revision uint64) time.Duration {
	e.seen = revision
	if e.waiting == 0 || revision < e.waiting {
		return 0
	}
	e.waiting = 0
	return time.Since(e.since)
}

// wrote notes that the publisher wrote, and gives the own record's revision if
// that was among it, else 0.
func (p *publication) wrote(pairs []kvstore.Pair, began time.Time) (revision uint64) {
	p.mu.Lock()
	var lag time.Duration
	if i := p.ownRecordLocked(pairs); i >= 0 {
		revision = pairs[i].Revision
		lag = p.lag.wroteLocked(revision, began)
	}
	p.mu.Unlock()
	if lag > 0 {
		p.observe.Returned(lag)
	}
	return revision
}

// saw notes what the watch shows.
func (p *publication) saw(pairs []kvstore.Pair) {
	p.mu.Lock()
	var lag time.Duration
	if i := p.ownRecordLocked(pairs); i >= 0 {
		lag = p.lag.sawLocked(pairs[i].Revision)
	}
	p.mu.Unlock()
	if lag > 0 {
		p.observe.Returned(lag)
	}
}

// ownRecordLocked finds this host's record, or gives -1.
func (p *publication) ownRecordLocked(pairs []kvstore.Pair) int {
	return slices.IndexFunc(pairs, func(pair kvstore.Pair) bool { return pair.Key == record.HostKey(p.self.Name) })
}
