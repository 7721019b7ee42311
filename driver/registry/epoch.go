package registry

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// # What follows when the store has lost data
//
// A store may be wiped, restored from an old snapshot, or moved without all of
// its data. Claims are missing then that their owners go by, and to claim what
// seems to be nobody's could give an address out twice. So the life of the store
// between two losses has a record, its epoch, at net/.epoch.
//
// Whoever notices a loss begins the next epoch by compare-and-set. A transaction
// that claims something holds only in the epoch that its host goes by, so one
// host's notice stops the others in the same moment. In a new epoch each host
// first records again what it has, by create only, and says in its own record
// that it has; it claims something new once every host that it knows of has said
// so, or after settleTime. What it has in stock it hands out all the time.
//
// A loss shows by the epoch's record, which is missing or older than the one that
// this host goes by, or by any record that nobody ever deletes, which is missing
// or has a lower revision than before.

// settleTime is how long a new epoch's claims wait for hosts that do not record
// again what they have. Other hosts know most of what such a host has, and leave
// it alone afterwards too.
const settleTime = 60 * time.Second

// doubtGap lies between two comparisons that other hosts' records ask for.
const doubtGap = 5 * time.Second

// Hosts that record everything again at once take a random time before it, so
// much for each host that there is, but not more than the longest.
const (
	spreadEach = 5 * time.Millisecond
	spreadMost = time.Second
)

// era is the epoch that this host goes by, and how far this host has come in it.
// The exported fields are durable.
type era struct {
	Epoch   record.Epoch `json:"epoch"`
	Settled bool         `json:"settled"` // new claims are allowed
	Alone   bool         `json:"alone"`   // the store is of this host alone, see Config

	revision uint64            // of the epoch's record; 0: the store does not have it as far as known
	unread   error             // why that record cannot be used; nil: it can
	since    time.Time         // when this process learned of it
	fresh    bool              // this host went by no epoch before
	verified string            // id of the epoch in which this host's claims were last compared with the store
	down     map[string]bool   // hosts that were down already when it began, if this process ran then
	seen     map[string]uint64 // revisions of lasting records
	saved    map[string]uint64 // seen as state has it
	suspect  map[string]uint64 // seen as it was before the store seemed to have lost data; nil: it does not
	signs    uint64            // how often it has seemed so
	doubt    bool              // the store may have something else than this host's claims
	compared time.Time         // last comparison because of that
	wake     chan struct{}     // there is something to do
}

// standing is how the store's epoch stands to the one that a host goes by.
type standing int

const (
	current standing = iota
	newer            // somebody has noticed a loss
	lost             // the store has none, or one of before or beside
)

// compare says how the store's epoch stands to the one known here.
func compare(known, stored record.Epoch) standing {
	switch {
	case stored.ID == "" || stored.N == 0:
		return lost
	case stored.ID == known.ID:
		return current
	case stored.N > known.N:
		return newer
	}
	return lost
}

// absentees are the hosts, sorted, that have not recorded again in this epoch what they
// have: of the hosts that are known here and the hosts that the epoch names. A host that
// nobody knows by name goes by its address.
func (e *era) absentees(self overlay.Host, known iter.Seq[record.HostDoc]) []string {
	all, at := map[string]bool{}, map[netip.Addr]bool{self.VTEP: true}
	for _, name := range e.Epoch.Hosts {
		all[name] = true
	}
	for doc := range known {
		all[doc.Name] = doc.Epoch != e.Epoch.ID
		at[doc.VTEP] = true
	}
	maps.DeleteFunc(all, func(name string, absent bool) bool { return !absent || name == self.Name || e.down[name] })
	for _, vtep := range e.Epoch.VTEPs {
		if !at[vtep] {
			all["at "+vtep.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// settledElsewhere says whether another host claims new things in this epoch. A host
// that is new has nothing that was lost, and may do so then too. When the epoch
// began is no measure for that: it is by another host's clock.
func (e *era) settledElsewhere(known iter.Seq[record.HostDoc]) bool {
	for p := range known {
		if p.Settled && p.Epoch == e.Epoch.ID {
			return true
		}
	}
	return false
}

// forget makes it the era of a host that has seen no store yet: this host has
// another one than before, which knows nothing of what the former had.
func (e *era) forget(alone bool) {
	*e = era{Alone: alone, since: e.since, seen: map[string]uint64{}, wake: e.wake}
}

// doubtLocked asks for a comparison of this host's claims with the store.
func (e *era) doubtLocked() {
	e.doubt, e.compared = true, time.Time{}
	wakeUp(e.wake)
}

// wentBack gives those keys under prefix, sorted, that are missing now or have a
// lower revision than before.
func wentBack(before, now map[string]uint64, prefix string) []string {
	var out []string
	for key, revision := range before {
		if strings.HasPrefix(key, prefix) && now[key] < revision {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// watchLosses is watchLossesLocked for who has no lock.
func (r *Registry) watchLosses(prefix string, pairs []kvstore.Pair, unread map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchLossesLocked(prefix, pairs, unread)
}

// watchLossesLocked looks at what a watch shows for signs of a loss. An unread record
// is there, so it is none; and since a person is asked to delete it, its end is none
// either. An unread epoch says nothing: claims wait until it is mended.
func (r *Registry) watchLossesLocked(prefix string, pairs []kvstore.Pair, unread map[string]bool) {
	e := &r.era
	suspicious := false
	if prefix == record.NetPrefix {
		stored, revision, err := record.StoredEpoch(pairs)
		if e.unread != nil && err == nil {
			wakeUp(e.wake) // what was noticed meanwhile
		}
		e.revision, e.unread = revision, err
		switch standing := compare(e.Epoch, stored); {
		case err != nil:
		case standing == newer:
			r.enterLocked(stored)
		case standing == lost:
			e.revision, suspicious = 0, true
		case standing == current:
			if e.verified != e.Epoch.ID { // this process has waited for the revision
				wakeUp(e.wake)
			}
		}
	}
	now := record.Revisions(pairs)
	if suspicious || len(wentBack(e.seen, now, prefix)) > 0 {
		r.suspectLocked(e.seen)
	}
	maps.DeleteFunc(e.seen, func(key string, _ uint64) bool { return strings.HasPrefix(key, prefix) })
	maps.DeleteFunc(now, func(key string, _ uint64) bool { return unread[key] })
	maps.Copy(e.seen, now)
}

// suspect notes that a record has a lower revision than this host knows that it had.
func (r *Registry) suspect(key string, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspectLocked(r.era.seen)
	r.era.suspect[key] = max(r.era.suspect[key], revision)
}

// suspectLocked has it looked whether the store has lost something of what was
// seen before.
func (r *Registry) suspectLocked(seen map[string]uint64) {
	if r.era.suspect == nil {
		r.era.suspect = maps.Clone(seen)
	}
	r.era.signs++
	wakeUp(r.era.wake)
}

// epochID is the epoch that this host goes by.
func (r *Registry) epochID() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.era.Epoch.ID
}

// epochKnown says whether the store has the epoch that this host goes by.
func (r *Registry) epochKnown() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.era.revision != 0
}

// trustLook is how often, and trustTime for how long, the publisher looks whether
// it is settled if the store has lost data.
const (
	trustLook = 10 * time.Millisecond
	trustTime = 3 * time.Second
)

// trusted waits until it is settled whether the store has lost data, or for so
// long that it may have to be written for that.
func (r *Registry) trusted(ctx context.Context) error {
	ticker := time.NewTicker(trustLook)
	defer ticker.Stop()
	for end := time.Now().Add(trustTime); time.Now().Before(end); {
		r.mu.RLock()
		settled := r.era.suspect == nil
		r.mu.RUnlock()
		if settled {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// ConfirmStoreIntact reads the hosts' records, and fails if they show that the store has
// lost data. Claims that were made just before are worth nothing then: the store had
// lost who else has the addresses.
func (r *Registry) ConfirmStoreIntact(ctx context.Context) error {
	r.mu.RLock()
	id, before := r.era.Epoch.ID, maps.Clone(r.era.seen)
	r.mu.RUnlock()
	pairs, _, err := r.cluster.List(ctx, record.HostPrefix)
	if err != nil {
		return fmt.Errorf("look whether the store has lost data: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &r.era
	// What the watch has shown while it was read may be newer, and is no loss.
	if e.Epoch.ID == id && len(wentBack(before, record.Revisions(pairs), record.HostPrefix)) > 0 {
		r.suspectLocked(before)
	}
	if e.Epoch.ID != id || e.suspect != nil || e.revision == 0 || e.unread != nil || !e.Settled {
		return fmt.Errorf("%w, since the store has lost data", ErrFrozen)
	}
	return nil
}

// enterLocked goes by a new epoch from now on.
func (r *Registry) enterLocked(began record.Epoch) {
	e := &r.era
	now := time.Now()
	if e.Epoch.ID != "" {
		r.log.WithFields(map[string]any{"by": began.By, "at": began.At, "was": e.Epoch.N, "is": began.N}).
			Warn("The store has lost data: every host records again what it has, and until then nothing new is claimed.")
	}
	e.fresh = e.Epoch.ID == ""
	e.Epoch, e.Settled, e.since, e.suspect = began, false, now, nil
	e.seen, e.down = map[string]uint64{}, map[string]bool{}
	for name, p := range r.peers.All() {
		e.down[name] = p.Down
	}
	r.keepSeenLocked() // else the next process compares with what the former epoch had
	r.keepEraLocked()
	r.distrust = true
	wakeUp(e.wake)
	r.local.send()
}

func (r *Registry) keepEraLocked() {
	if op, err := record.Put(record.StateEpoch, r.era); err == nil {
		r.keepLocked(op)
	}
}

// keepSeenLocked makes durable which revisions were seen.
func (r *Registry) keepSeenLocked() {
	if maps.Equal(r.era.seen, r.era.saved) || r.era.suspect != nil {
		return
	}
	if op, err := record.Put(record.StateSeen, r.era.seen); err == nil {
		r.keepLocked(op)
		r.era.saved = maps.Clone(r.era.seen)
	}
}

// seenEvery is how often at most it is made durable which revisions were seen.
const seenEvery = 5 * time.Second

// lookAround does what is due by the clock; looked is when seen was last saved.
func (r *Registry) lookAround(looked *time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.settleLocked(now)
	if r.era.doubt || r.owesLocked(now) || r.era.verified != r.era.Epoch.ID {
		wakeUp(r.era.wake)
	}
	if now.Sub(*looked) >= seenEvery {
		*looked = now
		r.keepSeenLocked()
	}
}

// settleLocked allows new claims once it is time to.
func (r *Registry) settleLocked(now time.Time) {
	e := &r.era
	if e.Settled || e.Epoch.ID == "" || e.verified != e.Epoch.ID || !r.rebuild.hosts {
		return
	}
	missing := e.absentees(r.self, r.peers.Docs())
	waits := len(missing) > 0 && now.Sub(e.since) < settleTime
	if waits && (!e.fresh || !e.settledElsewhere(r.peers.Docs())) {
		return
	}
	e.Settled = true
	e.doubtLocked() // what is disputed is decided now
	r.keepEraLocked()
	r.changedLocally()
	if e.Epoch.N > 1 {
		r.log.WithField("missing", missing).Info("New addresses and networks are claimed again.")
	}
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
