package kvtest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// Mute is the store, which answers nothing while now is set: each request but Wait and
// Hold ends by itself after 3 s, as Consul's do.
func Mute(store kvstore.Store, now *atomic.Bool) kvstore.Store {
	return Before(store, func(ctx context.Context, r Request) error {
		if !now.Load() || r.Method == Wait || r.Method == Hold {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(3 * time.Second):
			return kvstore.ErrUnavailable
		}
	})
}
