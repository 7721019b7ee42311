package consul

import (
	"context"
	"sync"

	"github.com/weft-net/weft/kvstore"
)

// calls knows the calls that are going on, to end them.
type calls struct {
	running sync.WaitGroup

	mu      sync.Mutex // guards all following fields
	closed  bool
	cancels map[*call]struct{}
}

type call struct {
	waits  bool
	cancel context.CancelCauseFunc
}

// begin gives ctx as the call must use it, and what the call must do at its
// end. It fails with ErrClosed after close.
func (c *calls) begin(ctx context.Context, waits bool) (context.Context, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, kvstore.ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	this := &call{waits, cancel}
	c.cancels[this] = struct{}{}
	c.running.Add(1)
	return ctx, func() {
		c.mu.Lock()
		delete(c.cancels, this)
		c.mu.Unlock()
		cancel(nil)
		c.running.Done()
	}, nil
}

// interrupt ends all Waits with cause.
func (c *calls) interrupt(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for this := range c.cancels {
		if this.waits {
			this.cancel(cause)
		}
	}
}

// close ends all calls with ErrClosed, waits for them and lets none begin.
func (c *calls) close() {
	c.mu.Lock()
	c.closed = true
	for this := range c.cancels {
		this.cancel(kvstore.ErrClosed)
	}
	c.mu.Unlock()
	c.running.Wait()
}
