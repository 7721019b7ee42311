package registry

import (
	"context"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/endpoints"
	"github.com/weft-net/weft/driver/registry/epoch"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Hosts that record everything again at once take a random time before it, so
// much for each host that there is, but not more than the longest.
const (
	spreadEach = 5 * time.Millisecond
	spreadMost = time.Second
)

// epochs is what this host makes of the store's epoch, which package epoch decides.
type epochs struct {
	*core
	epoch.State
	endpoints *endpoints.Endpoints
	peers     *peers.Peers
	rebuild   *rebuild
	wake      chan struct{} // there is something to do, see epochKeeper
}

// viewLocked is what the epoch's decisions go by besides.
func (e *epochs) viewLocked() epoch.View {
	return epoch.View{Self: e.self, Hosts: e.peers.Docs(), HostsRead: e.rebuild.hosts, Remains: e.rebuild.remaining(e.self.VTEP)}
}

// tendLocked has epochKeeper look what is to do, and whoever waits for it look whether
// claims are admitted.
func (e *epochs) tendLocked(due bool) {
	if due {
		wakeUp(e.wake)
	}
	e.admission.send()
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
		standing, due := f.epochs.SeeEpoch(stored, revision, err)
		if standing == epoch.Newer {
			f.enterLocked(stored)
		}
		f.epochs.tendLocked(due)
	}
	f.epochs.tendLocked(f.epochs.SeeRecords(prefix, pairs, unread))
}

// noteOlder notes that a record has a lower revision than this host knows that it had.
func (e *epochs) noteOlder(key string, revision uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.NoteOlder(key, revision)
	e.tendLocked(true)
}

// compareClaimsLocked asks for a comparison of this host's claims with the store.
func (e *epochs) compareClaimsLocked() {
	e.CompareClaims()
	wakeUp(e.wake)
}

// noteClashLocked notes that another host says that it has an address which is
// in use here.
func (e *epochs) noteClashLocked(at overlay.Attachment) {
	if e.endpoints.Count() == 0 {
		return
	}
	for _, other := range at.Endpoints {
		if slices.ContainsFunc(other.Addrs, e.endpoints.Uses) {
			e.CompareSoon()
			wakeUp(e.wake)
			return
		}
	}
}

// epochID is the epoch that this host goes by.
func (e *epochs) epochID() string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.Epoch.ID
}

// lossTime is for how long the publisher waits until it is settled whether the store has
// lost data.
const lossTime = 3 * time.Second

// settled waits until it is settled whether the store has lost data, or for so
// long that it may have to be written for that.
func (p *publisher) settled(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, lossTime)
	defer cancel()
	if p.await(within, &p.admission, p.epochs.Intact) != nil {
		return ctx.Err()
	}
	return nil
}

// enterLocked goes by a new epoch from now on.
func (f follower) enterLocked(began record.Epoch) {
	if was := f.epochs.Epoch; was.ID != "" {
		f.log.WithFields(map[string]any{"by": began.By, "at": began.At, "was": was.N, "is": began.N}).
			Warn("The store has lost data: every host records again what it has, and until then nothing new is claimed.")
	}
	down := map[string]bool{}
	for name, p := range f.peers.All() {
		down[name] = p.Down
	}
	f.epochs.Enter(began, down, time.Now())
	f.epochs.keepSeenLocked() // else the next process compares with what the former epoch had
	f.epochs.keepEpochLocked()
	f.published.reread = true
	f.epochs.tendLocked(true)
	f.local.send()
}

func (e *epochs) keepEpochLocked() {
	if op, err := record.Put(record.StateEpoch, e.State); err == nil {
		e.keepLocked(op)
	}
}

// keepSeenLocked makes durable which revisions were seen.
func (e *epochs) keepSeenLocked() {
	seen, unsaved := e.Unsaved()
	if !unsaved {
		return
	}
	if op, err := record.Put(record.StateSeen, seen); err == nil {
		e.keepLocked(op)
		e.Saved()
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
	r.epochs.settleLocked(now)
	if r.epochs.Due(r.epochs.viewLocked(), now) {
		wakeUp(r.epochs.wake)
	}
	if now.Sub(*looked) >= seenEvery {
		*looked = now
		r.epochs.keepSeenLocked()
	}
}

// settleLocked allows new claims once it is time to.
func (e *epochs) settleLocked(now time.Time) {
	allowed, missing := e.Settle(e.viewLocked(), now)
	if !allowed {
		return
	}
	e.tendLocked(true)
	e.keepEpochLocked()
	e.changedLocally()
	if e.Epoch.N > 1 {
		e.log.WithField("missing", missing).Info("New addresses and networks are claimed again.")
	}
}

// spread is how long hosts wait at most before all of them do something at once.
func (e *epochs) spread() time.Duration {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return min(spreadMost, time.Duration(e.peers.Count())*spreadEach)
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
