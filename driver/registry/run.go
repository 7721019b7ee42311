package registry

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// leaseTTL is the shortest that Consul allows. A host that dies without a word
// lets go of its lease after about twice that.
const leaseTTL = 10 * time.Second

// Run keeps the store and this host's replica in step until ctx ends. No state
// of the store makes it fail but one: it fails with an ErrPlace or ErrOlder when
// this host's place is another machine's, or another process's.
func (r *Registry) Run(ctx context.Context) error {
	defer r.rest(context.WithoutCancel(ctx))
	g, ctx := errgroup.WithContext(ctx)
	for _, task := range r.tasks() {
		g.Go(func() error { return task(ctx) })
	}
	return g.Wait()
}

// tasks are what Run does side by side, each with the parts that it needs.
func (r *Registry) tasks() []func(context.Context) error {
	c, d := r.core, r.directory
	publisher := &publisher{
		core: c, epochs: r.epochs, published: r.published, place: r.place, contact: r.contact,
		keyring: r.keyring, documents: r.documents, rebuild: r.rebuild,
		remover: &remover{directory: d, peers: r.peers, said: map[string]string{}},
	}
	follower := r.follower()
	return []func(context.Context) error{
		publisher.run,
		func(ctx context.Context) error { return follower.follow(ctx, record.HostPrefix, follower.applyHosts) },
		reader{core: c, epochs: r.epochs, peers: r.peers, rebuild: r.rebuild, due: follower.reads}.run,
		func(ctx context.Context) error { return follower.follow(ctx, record.NetPrefix, follower.applyNetworks) },
		leaseHolder{core: c, epochs: r.epochs, place: r.place, claims: r.claims, published: r.published}.run,
		r.reaper.run,
		r.reaper.silence.run,
		(&vetoes{core: c, peers: r.peers, place: r.place, claims: r.claims}).run,
		flusher{core: c, peers: r.peers}.run,
		epochKeeper{core: c, epochs: r.epochs, place: r.place, peers: r.peers}.run,
		tombstoneKeeper{directory: d}.run,
		reservations{directory: d, peers: r.peers, place: r.place}.run,
		r.keyring.run,
	}
}

func (r *Registry) follower() follower {
	return follower{
		directory: r.directory, epochs: r.epochs, published: r.published, place: r.place, contact: r.contact,
		keyring: r.keyring, peers: r.peers, rebuild: r.rebuild, observe: r.observe,
		reads: make(chan struct{}, 1),
	}
}

// rest leaves behind what saves the next process work.
func (r *Registry) rest(ctx context.Context) {
	r.mu.Lock()
	r.epochs.keepSeenLocked()
	r.mu.Unlock()
	if err := errors.Join(flusher{core: r.core, peers: r.peers}.flush(ctx), r.documents.endSequence(ctx)); err != nil {
		r.log.WithError(err).Debug("The next start will ask more of other hosts than it had to.")
	}
}

// leaseHolder makes this host fit for its lease, and holds it.
type leaseHolder struct {
	*core
	epochs    *epochs
	place     *place
	claims    *Claims
	published *publication
}

// run holds this host's lease, so that peers see it live.
func (l leaseHolder) run(ctx context.Context) error {
	retry := newBackoff()
	for {
		err := l.rejoin(ctx)
		if err == nil {
			err = l.hold(ctx, retry.Reset)
		}
		if ctx.Err() != nil {
			return nil
		}
		l.log.WithError(err).Debug("This host's lease is lost; it is asked for again.")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry.NextBackOff()):
		}
	}
}

func (l leaseHolder) hold(ctx context.Context, held func()) error {
	self := l.Self()
	l.mu.RLock()
	run := l.place.id.Run
	l.mu.RUnlock()
	return l.cluster.Hold(ctx, self.Name, record.LiveKey(self.Name), []byte(run), leaseTTL, held, l.claims.Fence()...)
}

// every does something at each tick until ctx ends.
func every(ctx context.Context, d time.Duration, do func()) error {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			do()
		}
	}
}

// newBackoff spreads repeated attempts from 50 ms to 0.3 s, half more with jitter: a
// store that is back after a long time has what it missed within 2 s, and a few
// requests, one after the other, are part of that.
func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 300*time.Millisecond
	return b
}

// gap is the least time between two looks at a watched prefix, so that a burst
// of changes costs the store one answer.
const gap = 20 * time.Millisecond

// follow hands every state of the prefix to apply.
func (f follower) follow(ctx context.Context, prefix string, apply func(context.Context, []kvstore.Pair) error) error {
	log := f.log.WithField("prefix", prefix)
	return kvstore.Follow(ctx, f.cluster, prefix, gap,
		func(err error) {
			f.lostSight(prefix)
			// The publisher says so when the store is away; what remains is a fault.
			if errors.Is(err, kvstore.ErrUnavailable) || errors.Is(err, kvstore.ErrDenied) {
				log.WithError(err).Debug("Following the store failed; it is tried again.")
				return
			}
			log.WithError(err).Warn("Records of the store could not be taken over; this is tried again.")
		},
		func(pairs []kvstore.Pair) error {
			began := time.Now()
			err := apply(ctx, pairs)
			f.observe.Applied(watchName(prefix), time.Since(began), err)
			if err == nil {
				f.hasRead(prefix)
			}
			return err
		})
}
