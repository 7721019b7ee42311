package kvtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/weft-net/weft/kvstore"
)

// Cable is the way to a store, which may be cut: then no request is carried out, and
// those under way end, leases too.
type Cable struct {
	kvstore.Store
	mu  sync.Mutex
	cut chan struct{} // guarded by mu; closed: it is cut
}

// NewCable gives a whole cable to the store.
func NewCable(store kvstore.Store) *Cable {
	c := &Cable{cut: make(chan struct{})}
	c.Store = Around(store, c.over)
	return c
}

// Cut cuts the cable, which is whole.
func (c *Cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.cut)
}

// Mend makes it whole again.
func (c *Cable) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = make(chan struct{})
}

// over makes one request.
func (c *Cable) over(ctx context.Context, _ Request, do Do) (Answer, error) {
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	gone := fmt.Errorf("out of reach: %w", kvstore.ErrUnavailable)
	select {
	case <-cut:
		return Answer{}, gone
	default:
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
	a, err := do(ctx)
	close(ended)
	watch.Wait()
	if errors.Is(context.Cause(ctx), gone) {
		return Answer{}, gone
	}
	return a, err
}
