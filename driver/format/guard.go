package format

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// ErrTooOld is in the errors that say that this weft is too old for the cluster, or
// for this host's state.
var ErrTooOld = errors.New("this weft is too old")

// CheckState says whether this weft may use a host's state. It changes nothing, and is
// to be asked before anything is written. Values that are no JSON objects are older
// than formats.
func CheckState(ctx context.Context, state kvstore.Store) error {
	pairs, _, err := state.List(ctx, "")
	if err != nil {
		return fmt.Errorf("read this host's state: %w", err)
	}
	for _, p := range pairs {
		if err := MayWrite(p.Value); err != nil {
			return fmt.Errorf("%w for this host's state, whose record %s %w; nothing was changed", ErrTooOld, p.Key, err)
		}
	}
	return nil
}

// Guarded is a cluster's store that takes no write if the cluster's meta record is for
// a later weft. Reading goes on.
type Guarded struct {
	kvstore.Store
	meta string // key of the record that speaks for the cluster

	mu      sync.Mutex
	known   bool  // meta has been read, or there is none
	refusal error // nil: this weft may write
}

// Guard makes a Guarded of the store, whose meta record has that key.
func Guard(store kvstore.Store, meta string) *Guarded { return &Guarded{Store: store, meta: meta} }

// Check asks the store, for at most within, whether this weft may write to it. A store
// that does not answer says nothing; then it is found out before the first write.
func (g *Guarded) Check(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := g.mayWrite(ctx); errors.Is(err, ErrTooOld) {
		return err
	}
	return nil
}

// mayWrite reads meta if that has not been done yet.
func (g *Guarded) mayWrite(ctx context.Context) error {
	g.mu.Lock()
	known, refusal := g.known, g.refusal
	g.mu.Unlock()
	if known {
		return refusal
	}
	_, err := g.Get(ctx, g.meta)
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusal
}

// Get implements kvstore.Store. Each reading of meta is a look at what it demands.
func (g *Guarded) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	p, err := g.Store.Get(ctx, key)
	if key != g.meta || err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return p, err
	}
	refusal := MayWrite(p.Value)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known, g.refusal = true, nil
	if refusal != nil {
		g.refusal = fmt.Errorf("%w for the cluster, whose record %s %w; nothing is written to the store", ErrTooOld, g.meta, refusal)
	}
	return p, err
}

// Txn implements kvstore.Store.
func (g *Guarded) Txn(ctx context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	if err := g.mayWrite(ctx); err != nil {
		return nil, err
	}
	return g.Store.Txn(ctx, ops...)
}

// Hold implements kvstore.Store.
func (g *Guarded) Hold(
	ctx context.Context, name, key string, value []byte, ttl time.Duration, held func(), guards ...kvstore.Op,
) error {
	if err := g.mayWrite(ctx); err != nil {
		return err
	}
	return g.Store.Hold(ctx, name, key, value, ttl, held, guards...)
}
