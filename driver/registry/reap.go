package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// # How a dead host's addresses come free
//
// A host is down when its lease has been free for peers.DownAfter: the others stop
// forwarding to it and stop accepting its packets. It is dead when one host, which
// reached the store all along, has seen its lease free for the reap time without a
// break, and when nobody has said all that time that it hears the dead host (see
// veto.go). Any one host that has seen this, and whose token allows it, creates
// host/X/dead in a transaction that holds only if host/X/live and host/.heard/X are what
// they were all that time.
//
// The mark is the fence. Every transaction that deletes something of X holds
// only while the mark is the one that was made, and every transaction by which
// X claims an address holds only if there is no mark. X comes back by deleting
// the mark; from then on nothing of X is deleted any more, and X compares its
// claims with the store before it takes its lease and peers believe in it
// again. An address in use that somebody else has by then is lost: its endpoint
// is taken out, loudly.
//
// When the mark is gone, nothing shows a late transaction of X's that it was there: X
// may have decided on that transaction before it knew of the mark, and the store may
// carry it out afterwards. So transactions that write over what another host has hold
// only while host/X/back is what it was before X decided. X writes that key together
// with the mark's deletion.

// tick is how often liveness is looked at.
const tick = 500 * time.Millisecond

// deniedTime is how long a host whose token may not reap leaves it to others. Then it
// tries again, as it may have got the right.
const deniedTime = 10 * time.Minute

// reaper marks hosts down, and frees what dead hosts had.
type reaper struct {
	*core
	epochs  *epochs
	contact *contact
	keyring *Keyring
	peers   *peers.Peers
	silence silence
}

// judge says which hosts are down now, and gives those to be reaped.
func (r reaper) judge(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	dead, news, changed := r.peers.Judge(now, r.contact.last.Err == nil && !r.contact.leasesUnseen)
	r.silence.tellLocked(news, changed)
	return dead
}

// run marks hosts down, and reaps those that are dead, until ctx ends.
func (r reaper) run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var looked, denied time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		r.lookAround(&looked)
		for _, host := range r.judge(time.Now()) {
			if !denied.IsZero() && time.Since(denied) < deniedTime {
				break
			}
			err := r.reap(ctx, host)
			switch {
			case err == nil, errors.Is(err, errBack), errors.Is(err, errHeard), ctx.Err() != nil:
			case errors.Is(err, kvstore.ErrDenied):
				if denied.IsZero() {
					r.log.WithField("host", host).Info("A dead host is left to those hosts whose token for the store may free what it had; that of this host may not.")
				}
				denied = time.Now()
			default:
				r.log.WithError(err).WithField("host", host).Warn("A dead host could not be reaped; this is tried again.")
			}
		}
	}
}

// Forget declares a host dead at once and frees all that it had, for a person
// who knows that it will not come back. It refuses this host, a live one and one
// that is heard directly, here or by another host.
func (r *Registry) Forget(ctx context.Context, host string) error {
	r.mu.RLock()
	p, known := r.peers.Peer(host)
	heard, self := r.peers.Hears(host), r.self.Name
	r.mu.RUnlock()
	switch {
	case host == self:
		return fmt.Errorf("host %q is this one: run `weft leave` on it instead", host)
	case !known:
		return fmt.Errorf("host %q is %w: see `weft host ls`", host, ErrUnknown)
	case p.Live:
		return fmt.Errorf("host %q is alive: stop weft on it first, or run `weft leave` there", host)
	case heard:
		return fmt.Errorf("host %q is alive and heard, though the store does not hear of it: mend its way to the store, or stop weft on it first", host)
	}
	err := r.reaper.reap(ctx, host)
	switch {
	case errors.Is(err, errHeard):
		return fmt.Errorf("host %q is alive, since %w, though the store does not hear of it: mend its way to the store, or stop weft on it first", host, err)
	case errors.Is(err, errBack):
		return fmt.Errorf("host %q was not forgotten, since %w: look at `weft host ls`, and try again if it is still down", host, err)
	case errors.Is(err, kvstore.ErrDenied):
		return fmt.Errorf("host %[1]q was not forgotten, since the token of this host may not write what others have (%[2]w): run `weft host forget %[1]s` on a host whose token may", host, err)
	}
	return err
}

// reap frees all that a dead host had. It may stop anywhere and be done again,
// by any host.
func (r reaper) reap(ctx context.Context, host string) error {
	mark, err := r.mark(ctx, host)
	if err != nil {
		return err
	}
	fence := kvstore.Op{Kind: kvstore.Check, Key: record.DeadKey(host), Revision: mark}
	ops, err := belongings(ctx, r.core, host)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ops, kvstore.MaxOps-1) {
		if _, err := r.cluster.Txn(ctx, append([]kvstore.Op{fence}, some...)...); err != nil {
			return fmt.Errorf("free what host %s had: %w", host, err)
		}
	}
	gone, err := record.Put(record.HostKey(host), record.HostDoc{Host: r.lastRecord(host), Left: true})
	if err != nil {
		return err
	}
	if _, err := r.cluster.Txn(ctx, fence, gone, record.Delete(record.LiveKey(host)), record.Delete(record.HeardKey(host))); err != nil {
		return fmt.Errorf("record that host %s is gone: %w", host, err)
	}
	r.log.WithField("host", host).Warn("A dead host's addresses and endpoints are free again.")
	return nil
}

// errBack says that a host that was down has had its lease meanwhile: the time
// runs anew.
var errBack = errors.New("its lease has changed meanwhile")

// errHeard says that another host hears the host directly.
var errHeard = errors.New("another host hears it directly")

// mark makes or finds the mark of a dead host and gives its revision. It fails with
// errBack if the host has taken its lease back, and with errHeard if somebody hears it.
func (r reaper) mark(ctx context.Context, host string) (uint64, error) {
	live, err := r.cluster.Get(ctx, record.LiveKey(host))
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return 0, fmt.Errorf("look at the lease of host %s: %w", host, err)
	}
	lease, heard := r.leaseSeen(host)
	switch {
	case live.Held || live.Revision != lease:
		return 0, errBack
	case heard.Held && heard.By != "":
		return 0, fmt.Errorf("%w (%s)", errHeard, heard.By)
	case heard.Held:
		return 0, errHeard
	}
	text, err := json.Marshal(record.DeadMark{By: r.Self().Name, At: time.Now().UTC()})
	if err != nil {
		return 0, fmt.Errorf("encode: %w", err)
	}
	made, err := r.cluster.Txn(ctx,
		kvstore.Op{Kind: kvstore.CAS, Key: record.DeadKey(host), Value: text},
		kvstore.Op{Kind: kvstore.Check, Key: record.LiveKey(host), Revision: live.Revision},
		kvstore.Op{Kind: kvstore.Check, Key: record.HeardKey(host), Revision: heard.Revision},
	)
	var conflict *kvstore.ConflictError
	switch {
	case err == nil:
		return made[0].Revision, nil
	case errors.As(err, &conflict) && conflict.Key == record.DeadKey(host):
		found, err := r.cluster.Get(ctx, record.DeadKey(host))
		if errors.Is(err, kvstore.ErrNotFound) {
			return 0, errBack
		}
		return found.Revision, err
	case errors.As(err, &conflict) && conflict.Key == record.HeardKey(host):
		return 0, errHeard
	case errors.Is(err, kvstore.ErrConflict):
		return 0, errBack
	}
	return 0, fmt.Errorf("declare host %s dead: %w", host, err)
}

// leaseSeen is the revision that the host's lease has had since it was free, and the
// veto of those who hear it.
func (r reaper) leaseSeen(host string) (uint64, record.Veto) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, _ := r.peers.Peer(host)
	return p.Lease, p.Veto
}

// lastRecord is the record of a host that is gone, with the newest key that it can
// know.
func (r reaper) lastRecord(name string) overlay.Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, _ := r.peers.Peer(name)
	host := p.Host
	if !r.keyring.meta.Ring().Behind(host.Keys) {
		host.Keys = r.self.Keys
	}
	return host
}

// belongings gives the deletions of everything that the host has in the store
// but its own record.
func belongings(ctx context.Context, c *core, host string) ([]kvstore.Op, error) {
	var ops []kvstore.Op
	own, _, err := c.cluster.List(ctx, record.AttachmentKey(host, ""))
	if err != nil {
		return nil, fmt.Errorf("read what host %s had: %w", host, err)
	}
	for _, p := range own {
		if kvstore.CheckKey(p.Key) == nil { // such as the UI's folders: no host's
			ops = append(ops, record.Delete(p.Key))
		}
	}
	claims, err := c.addresses.ClaimsOf(ctx, host)
	if err != nil {
		return nil, err
	}
	return append(ops, claims...), nil
}

// rejoin makes this host fit to take its lease: it takes off the mark of a host
// declared dead, if there is one, and then compares its claims with the store.
// The comparison is made in any case, by which all comes out that happened
// unnoticed.
func (l leaseHolder) rejoin(ctx context.Context) error {
	self := l.Self().Name
	if err := l.awaitPlace(ctx); err != nil {
		return err
	}
	if err := l.await(ctx, &l.admission, l.epochs.Known); err != nil {
		return err
	}
	mark, err := l.cluster.Get(ctx, record.DeadKey(self))
	if errors.Is(err, kvstore.ErrNotFound) {
		return l.verifyAll(ctx)
	}
	if err != nil {
		return fmt.Errorf("look whether this host was declared dead: %w", err)
	}
	var by record.DeadMark
	_ = json.Unmarshal(mark.Value, &by) // only for the log
	if by.By == self {
		l.log.Info("This host has left the cluster before, and joins again.")
	} else {
		l.log.WithField("by", by.By).WithField("at", by.At).Warn("This host was declared dead; it compares its addresses with the cluster before it takes part again.")
	}
	if err := l.put(ctx, record.StateYield, true); err != nil {
		return fmt.Errorf("come back after having been declared dead: %w", err)
	}
	l.claims.yields.Store(true)
	ops := []kvstore.Op{
		{Kind: kvstore.DeleteCAS, Key: mark.Key, Revision: mark.Revision},
		{Kind: kvstore.Set, Key: record.BackKey(self), Value: []byte(newID())},
	}
	if _, err := l.cluster.Txn(ctx, ops...); err != nil {
		return fmt.Errorf("come back after having been declared dead: %w", err)
	}
	l.mu.Lock()
	l.published.reread = true // what was this host's in the store is gone
	l.mu.Unlock()
	l.local.send()
	return l.verifyAll(ctx)
}

// verifyAll compares this host's claims with the store, after which nothing is
// left that another host may have because this one was declared dead.
func (l leaseHolder) verifyAll(ctx context.Context) error {
	yield := l.claims.Yields()
	if err := l.addresses.Verify(ctx, yield); err != nil || !yield {
		return err
	}
	if err := l.commit(ctx, record.Delete(record.StateYield)); err != nil {
		return err
	}
	l.claims.yields.Store(false)
	return nil
}
