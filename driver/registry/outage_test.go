package registry_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// outage is a store that can be away for all hosts at once, and counts requests.
// Leases end with it.
type outage struct {
	kvstore.Store
	mu    sync.Mutex
	away  bool
	cut   chan struct{} // closed when it goes
	asked []time.Time   // when each request came
}

func newOutage(s kvstore.Store) *outage { return &outage{Store: s, cut: make(chan struct{})} }

func (o *outage) goes() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = true
	close(o.cut)
}

func (o *outage) returns() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away, o.cut, o.asked = false, make(chan struct{}), nil
}

// requests gives when each request came since the store returned last.
func (o *outage) requests() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]time.Time(nil), o.asked...)
}

// during makes one request, which fails if the store is away or goes meanwhile.
func (o *outage) during(ctx context.Context, f func(context.Context) error) error {
	gone := fmt.Errorf("out of reach: %w", kvstore.ErrUnavailable)
	o.mu.Lock()
	o.asked = append(o.asked, time.Now())
	away, cut := o.away, o.cut
	o.mu.Unlock()
	if away {
		return gone
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-cut:
			cancel(gone)
		case <-ended:
		}
	})
	err := f(ctx)
	close(ended)
	watch.Wait()
	if errors.Is(context.Cause(ctx), gone) {
		return gone
	}
	return err
}

func (o *outage) Get(ctx context.Context, key string) (p kvstore.Pair, err error) {
	err = o.during(ctx, func(ctx context.Context) (err error) {
		p, err = o.Store.Get(ctx, key)
		return err
	})
	return p, err
}

func (o *outage) List(ctx context.Context, prefix string) (pairs []kvstore.Pair, revision uint64, err error) {
	err = o.during(ctx, func(ctx context.Context) (err error) {
		pairs, revision, err = o.Store.List(ctx, prefix)
		return err
	})
	return pairs, revision, err
}

func (o *outage) Wait(ctx context.Context, prefix string, since uint64) (pairs []kvstore.Pair, revision uint64, err error) {
	err = o.during(ctx, func(ctx context.Context) (err error) {
		pairs, revision, err = o.Store.Wait(ctx, prefix, since)
		return err
	})
	return pairs, revision, err
}

func (o *outage) Txn(ctx context.Context, ops ...kvstore.Op) (pairs []kvstore.Pair, err error) {
	err = o.during(ctx, func(ctx context.Context) (err error) {
		pairs, err = o.Store.Txn(ctx, ops...)
		return err
	})
	return pairs, err
}

func (o *outage) Hold(ctx context.Context, name, key string, value []byte, ttl time.Duration, held func(), guards ...kvstore.Op) error {
	return o.during(ctx, func(ctx context.Context) error {
		return o.Store.Hold(ctx, name, key, value, ttl, held, guards...)
	})
}
