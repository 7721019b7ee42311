package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/epoch"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Hosts that record everything again at once take a random time before it, so
// much for each host that there is, but not more than the longest.
const (
	spreadEach = 5 * time.Millisecond
	spreadMost = time.Second
)

// viewLocked is what the epoch's decisions go by besides.
func (r *Registry) viewLocked() epoch.View {
	return epoch.View{Self: r.self, Hosts: r.peers.Docs(), HostsRead: r.rebuild.hosts, Remains: r.remainingLocked()}
}

// tendLocked has epochKeeper look what is to do, and whoever waits for it look whether
// claims are admitted.
func (r *Registry) tendLocked(due bool) {
	if due {
		wakeUp(r.epochWake)
	}
	r.admission.send()
}

// watchLosses is watchLossesLocked for who has no lock.
func (f follower) watchLosses(prefix string, pairs []kvstore.Pair, unread map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchLossesLocked(prefix, pairs, unread)
}

// watchLossesLocked looks at what a watch shows for signs of a loss.
func (f follower) watchLossesLocked(prefix string, pairs []kvstore.Pair, unread map[string]bool) {
	if prefix == record.NetPrefix {
		stored, revision, err := record.StoredEpoch(pairs)
		standing, due := f.epoch.SeeEpoch(stored, revision, err)
		if standing == epoch.Newer {
			f.enterLocked(stored)
		}
		f.tendLocked(due)
	}
	f.tendLocked(f.epoch.SeeRecords(prefix, pairs, unread))
}

// noteOlder notes that a record has a lower revision than this host knows that it had.
func (p *publisher) noteOlder(key string, revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch.NoteOlder(key, revision)
	p.tendLocked(true)
}

// compareClaimsLocked asks for a comparison of this host's claims with the store.
func (r *Registry) compareClaimsLocked() {
	r.epoch.CompareClaims()
	wakeUp(r.epochWake)
}

// noteClashLocked notes that another host says that it has an address which is
// in use here.
func (r *Registry) noteClashLocked(at overlay.Attachment) {
	if len(r.endpoints) == 0 {
		return
	}
	for _, e := range at.Endpoints {
		if slices.ContainsFunc(e.Addrs, r.usesLocked) {
			r.epoch.CompareSoon()
			wakeUp(r.epochWake)
			return
		}
	}
}

// epochID is the epoch that this host goes by.
func (p *publisher) epochID() string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.epoch.Epoch.ID
}

// lossTime is for how long the publisher waits until it is settled whether the store has
// lost data.
const lossTime = 3 * time.Second

// settled waits until it is settled whether the store has lost data, or for so
// long that it may have to be written for that.
func (p *publisher) settled(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, lossTime)
	defer cancel()
	if p.await(within, &p.admission, p.epoch.Intact) != nil {
		return ctx.Err()
	}
	return nil
}

// await returns once holds is true. It asks that under the lock, now and with each
// send. It fails with ctx's error when ctx ends before.
func (r *Registry) await(ctx context.Context, on *broadcast, holds func() bool) error {
	changes, stop := on.subscribe()
	defer stop()
	for {
		r.mu.RLock()
		done := holds()
		r.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		}
	}
}

// ConfirmStoreIntact reads the hosts' records, and fails if they show that the store has
// lost data. Claims that were made just before are worth nothing then: the store had
// lost who else has the addresses.
func (r *Registry) ConfirmStoreIntact(ctx context.Context) error {
	r.mu.RLock()
	id, before := r.epoch.Epoch.ID, r.epoch.Seen()
	r.mu.RUnlock()
	pairs, _, err := r.cluster.List(ctx, record.HostPrefix)
	if err != nil {
		return fmt.Errorf("look whether the store has lost data: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	intact, due := r.epoch.Confirm(id, before, pairs)
	r.tendLocked(due)
	if !intact {
		return fmt.Errorf("%w, since the store has lost data", ErrFrozen)
	}
	return nil
}

// enterLocked goes by a new epoch from now on.
func (f follower) enterLocked(began record.Epoch) {
	if was := f.epoch.Epoch; was.ID != "" {
		f.log.WithFields(map[string]any{"by": began.By, "at": began.At, "was": was.N, "is": began.N}).
			Warn("The store has lost data: every host records again what it has, and until then nothing new is claimed.")
	}
	down := map[string]bool{}
	for name, p := range f.peers.All() {
		down[name] = p.Down
	}
	f.epoch.Enter(began, down, time.Now())
	f.keepSeenLocked() // else the next process compares with what the former epoch had
	f.keepEpochLocked()
	f.rereadStore = true
	f.tendLocked(true)
	f.local.send()
}

func (r *Registry) keepEpochLocked() {
	if op, err := record.Put(record.StateEpoch, r.epoch); err == nil {
		r.keepLocked(op)
	}
}

// keepSeenLocked makes durable which revisions were seen.
func (r *Registry) keepSeenLocked() {
	seen, unsaved := r.epoch.Unsaved()
	if !unsaved {
		return
	}
	if op, err := record.Put(record.StateSeen, seen); err == nil {
		r.keepLocked(op)
		r.epoch.Saved()
	}
}

// seenEvery is how often at most it is made durable which revisions were seen.
const seenEvery = 5 * time.Second

// lookAround does what is due by the clock; looked is when it was last made durable which
// revisions were seen.
func (r reaper) lookAround(looked *time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.settleLocked(now)
	if r.epoch.Due(r.viewLocked(), now) {
		wakeUp(r.epochWake)
	}
	if now.Sub(*looked) >= seenEvery {
		*looked = now
		r.keepSeenLocked()
	}
}

// settleLocked allows new claims once it is time to.
func (r *Registry) settleLocked(now time.Time) {
	allowed, missing := r.epoch.Settle(r.viewLocked(), now)
	if !allowed {
		return
	}
	r.tendLocked(true)
	r.keepEpochLocked()
	r.changedLocally()
	if r.epoch.Epoch.N > 1 {
		r.log.WithField("missing", missing).Info("New addresses and networks are claimed again.")
	}
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
