package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// # How a dead host's addresses come free
//
// A host is down when its lease has been free for downAfter: peers stop
// forwarding to it and stop accepting its packets. It is dead when the lease
// has been free for the reap time without a break, as seen by one host that
// reached the store all along. That host, any one, creates host/X/dead in a
// transaction that holds only if host/X/live is what it was all that time.
//
// The mark is the fence. Every transaction that deletes something of X holds
// only while the mark is the one that was made, and every transaction by which
// X claims an address holds only if there is no mark. X comes back by deleting
// the mark; from then on nothing of X is deleted any more, and X compares its
// claims with the store before it takes its lease and peers believe in it
// again. An address in use that somebody else has by then is lost: its endpoint
// is taken out, loudly.

// downAfter is how long a host's lease must have been free before its peers
// stop forwarding to it. Consul frees a lease 2 x TTL after the last renewal; a
// host whose lease was lost with a leader or an outage has it back by then.
const downAfter = 8 * time.Second

// silentDownAfter is the same for a host that has fallen silent as well.
const silentDownAfter = time.Second

// tick is how often liveness is looked at.
const tick = time.Second

func deadKey(host string) string { return hostPrefix + host + "/dead" }

// deadMark is what host/X/dead says.
type deadMark struct {
	By string    `json:"by"` // the host that made it
	At time.Time `json:"at"`
}

// Fence is what a transaction that claims an address for this host must hold:
// nobody has declared this host dead.
func (r *Registry) Fence() kvstore.Op {
	return kvstore.Op{Kind: kvstore.Check, Key: deadKey(r.Self().Name)}
}

// watchLiveness marks hosts down, and reaps those that are dead, until ctx ends.
func (r *Registry) watchLiveness(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		r.save(ctx)
		for _, host := range r.judge(time.Now()) {
			if err := r.reap(ctx, host); err != nil && ctx.Err() == nil {
				r.log.WithError(err).WithField("host", host).Warn("A dead host could not be reaped; this is tried again.")
			}
		}
	}
}

// judge says which hosts are down now, and gives those to be reaped.
func (r *Registry) judge(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.contact.Err != nil { // who cannot see the leases judges nobody
		for name, p := range r.hosts {
			p.since = now
			r.hosts[name] = p
		}
		return nil
	}
	var dead []string
	for name, p := range r.hosts {
		if p.since.IsZero() { // known from state, not seen yet by this process
			p.since = now
			r.hosts[name] = p
		}
		grace := downAfter
		if r.silentLocked(name) {
			grace = silentDownAfter
		}
		down := !p.live && now.Sub(p.since) >= grace
		if down != p.down {
			p.down = down
			r.hosts[name] = p
			r.any.send()
			r.log.WithField("host", name).Info(map[bool]string{
				true:  "A host is down: nothing is sent to it, and nothing taken from it, until it is back.",
				false: "A host is back.",
			}[down])
		}
		if down && r.reapAfter > 0 && now.Sub(p.since) >= r.reapAfter {
			dead = append(dead, name)
		}
	}
	return dead
}

// Forget declares a host dead at once and frees all that it had, for a person
// who knows that it will not come back. It refuses this host and a live one.
func (r *Registry) Forget(ctx context.Context, host string) error {
	r.mu.RLock()
	p, known := r.hosts[host]
	self := r.self.Name
	r.mu.RUnlock()
	switch {
	case host == self:
		return fmt.Errorf("host %q is this one: run `weft leave` on it instead", host)
	case !known:
		return fmt.Errorf("host %q is %w: see `weft host ls`", host, ErrUnknown)
	case p.live:
		return fmt.Errorf("host %q is alive: stop weft on it first, or run `weft leave` there", host)
	}
	return r.reap(ctx, host)
}

// reap frees all that a dead host had. It may stop anywhere and be done again,
// by any host.
func (r *Registry) reap(ctx context.Context, host string) error {
	mark, err := r.mark(ctx, host)
	if err != nil || mark == 0 {
		return err
	}
	fence := kvstore.Op{Kind: kvstore.Check, Key: deadKey(host), Revision: mark}
	ops, err := r.belongings(ctx, host)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ops, kvstore.MaxOps-1) {
		if _, err := r.cluster.Txn(ctx, append([]kvstore.Op{fence}, some...)...); err != nil {
			return fmt.Errorf("free what host %s had: %w", host, err)
		}
	}
	gone, err := setOp(hostDocKey(host), peer{Host: r.hostRecord(host), Left: true})
	if err != nil {
		return err
	}
	if _, err := r.cluster.Txn(ctx, fence, gone, deleteOp(hostLiveKey(host))); err != nil {
		return fmt.Errorf("record that host %s is gone: %w", host, err)
	}
	r.log.WithField("host", host).Warn("A dead host's addresses and endpoints are free again.")
	return nil
}

// mark makes or finds the mark of a dead host and gives its revision; 0 if the
// host has taken its lease back.
func (r *Registry) mark(ctx context.Context, host string) (uint64, error) {
	live, err := r.cluster.Get(ctx, hostLiveKey(host))
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return 0, fmt.Errorf("look at the lease of host %s: %w", host, err)
	}
	if live.Held || live.Revision != r.leaseSeen(host) {
		return 0, nil // it is back, or was for a moment: the time runs anew
	}
	text, err := json.Marshal(deadMark{By: r.Self().Name, At: time.Now().UTC()})
	if err != nil {
		return 0, fmt.Errorf("encode: %w", err)
	}
	made, err := r.cluster.Txn(ctx,
		kvstore.Op{Kind: kvstore.CAS, Key: deadKey(host), Value: text},
		kvstore.Op{Kind: kvstore.Check, Key: hostLiveKey(host), Revision: live.Revision},
	)
	var conflict *kvstore.ConflictError
	switch {
	case err == nil:
		return made[0].Revision, nil
	case errors.As(err, &conflict) && conflict.Key == deadKey(host):
		found, err := r.cluster.Get(ctx, deadKey(host))
		if errors.Is(err, kvstore.ErrNotFound) {
			return 0, nil
		}
		return found.Revision, err
	case errors.Is(err, kvstore.ErrConflict):
		return 0, nil
	}
	return 0, fmt.Errorf("declare host %s dead: %w", host, err)
}

// leaseSeen is the revision that the host's lease has had since it was free.
func (r *Registry) leaseSeen(host string) uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.hosts[host].lease
}

func (r *Registry) hostRecord(name string) overlay.Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.hosts[name].Host
}

// belongings gives the deletions of everything that the host has in the store
// but its own record.
func (r *Registry) belongings(ctx context.Context, host string) ([]kvstore.Op, error) {
	var ops []kvstore.Op
	own, _, err := r.cluster.List(ctx, attachmentKey(host, ""))
	if err != nil {
		return nil, fmt.Errorf("read what host %s had: %w", host, err)
	}
	for _, p := range own {
		ops = append(ops, deleteOp(p.Key))
	}
	claims, err := r.addresses.ClaimsOf(ctx, host)
	if err != nil {
		return nil, err
	}
	return append(ops, claims...), nil
}

// rejoin makes this host fit to take its lease: it takes off the mark of a host
// declared dead, if there is one, and then compares its claims with the store.
// The comparison is made in any case: a process that died in between left no
// trace of it.
func (r *Registry) rejoin(ctx context.Context) error {
	self := r.Self().Name
	mark, err := r.cluster.Get(ctx, deadKey(self))
	if errors.Is(err, kvstore.ErrNotFound) {
		return r.addresses.Verify(ctx)
	}
	if err != nil {
		return fmt.Errorf("look whether this host was declared dead: %w", err)
	}
	var by deadMark
	_ = json.Unmarshal(mark.Value, &by) // only for the log
	r.log.WithField("by", by.By).WithField("at", by.At).Warn("This host was declared dead; it compares its addresses with the cluster before it takes part again.")
	if _, err := r.cluster.Txn(ctx, kvstore.Op{Kind: kvstore.DeleteCAS, Key: mark.Key, Revision: mark.Revision}); err != nil {
		return fmt.Errorf("come back after having been declared dead: %w", err)
	}
	r.mu.Lock()
	r.distrust = true // what was this host's in the store is gone
	r.mu.Unlock()
	r.local.send()
	return r.addresses.Verify(ctx)
}
