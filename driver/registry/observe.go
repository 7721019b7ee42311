package registry

import (
	"slices"
	"time"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Observer hears how this host and the store keep up with each other. Its
// functions may be nil, and must not block.
type Observer struct {
	// Applied hears of each answer of a watch ("hosts" or "networks") that has
	// been taken over, or could not be, and how long that took.
	Applied func(watch string, took time.Duration, err error)
	// Returned hears how long after this host began to write its own record its
	// own watch showed it: what other hosts see of it takes as long.
	Returned func(lag time.Duration)
}

func (o Observer) filled() Observer {
	if o.Applied == nil {
		o.Applied = func(string, time.Duration, error) {}
	}
	if o.Returned == nil {
		o.Returned = func(time.Duration) {}
	}
	return o
}

// watchName is how a followed prefix is called.
func watchName(prefix string) string {
	if prefix == record.HostPrefix {
		return "hosts"
	}
	return "networks"
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
func (p *publisher) wrote(pairs []kvstore.Pair, began time.Time) (revision uint64) {
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
func (f follower) saw(pairs []kvstore.Pair) {
	f.mu.Lock()
	var lag time.Duration
	if i := f.ownRecordLocked(pairs); i >= 0 {
		lag = f.lag.sawLocked(pairs[i].Revision)
	}
	f.mu.Unlock()
	if lag > 0 {
		f.observe.Returned(lag)
	}
}

// ownRecordLocked finds this host's record, or gives -1.
func (r *Registry) ownRecordLocked(pairs []kvstore.Pair) int {
	return slices.IndexFunc(pairs, func(p kvstore.Pair) bool { return p.Key == record.HostKey(r.self.Name) })
}

// Behind is for how long a write of this host's has been in the store without
// its own watch showing it; 0 if there is none.
func (r *Registry) Behind() time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.lag.waiting == 0 {
		return 0
	}
	return time.Since(r.lag.since)
}
