package kvtest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// Mute is a store that at times answers nothing: each request ends by itself after
// 3 s, as Consul's do.
type Mute struct {
	kvstore.Store
	Now atomic.Bool // it does not answer
}

func (m *Mute) err(ctx context.Context) error {
	if !m.Now.Load() {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(3 * time.Second):
		return kvstore.ErrUnavailable
	}
}

// Get implements kvstore.Store.
func (m *Mute) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	if err := m.err(ctx); err != nil {
		return kvstore.Pair{}, err
	}
	return m.Store.Get(ctx, key)
}

// List implements kvstore.Store.
func (m *Mute) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	if err := m.err(ctx); err != nil {
		return nil, 0, err
	}
	return m.Store.List(ctx, prefix)
}

// Txn implements kvstore.Store.
func (m *Mute) Txn(ctx context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	if err := m.err(ctx); err != nil {
		return nil, err
	}
	return m.Store.Txn(ctx, ops...)
}
