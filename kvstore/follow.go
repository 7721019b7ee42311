package kvstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Waits between attempts after errors: the first, and the longest without and
// with its random half on top.
const (
	firstRetry  = 50 * time.Millisecond
	longRetry   = 10 * time.Second / 3
	retryJitter = 0.5
)

// Follow hands the pairs under prefix to apply, sorted by key, now and whenever
// they change, until ctx ends; then it returns nil. What does not pass is
// returned: a prefix that cannot be one (ErrInvalid), a closed store (ErrClosed).
//
// Between two snapshots lie at least gap, give or take a quarter at random, so
// that many followers of one busy prefix neither overload the store nor march
// in step. After each error, of the store's or of apply's, it calls failed once,
// waits 50 ms at first, at most 5 s later on, and begins again from List; apply
// is then called even if nothing has changed meanwhile.
func Follow(ctx context.Context, store Store, prefix string, gap time.Duration, failed func(error), apply func([]Pair) error) error {
	if err := CheckPrefix(prefix); err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, longRetry
	retry.Multiplier, retry.RandomizationFactor = 2, retryJitter

	var (
		revision uint64
		fresh    bool // revision is of this connection to the store, and applied
	)
	for ctx.Err() == nil {
		pairs, next, err := read(ctx, store, prefix, revision, fresh)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, ErrClosed) {
			return fmt.Errorf("follow %s: %w", prefix, err)
		}
		if fresh && err == nil && next == revision {
			continue
		}
		if err == nil {
			err = apply(pairs)
		}
		if err != nil {
			fresh = false
			failed(err)
			pause(ctx, retry.NextBackOff())
			continue
		}
		retry.Reset()
		fresh, revision = true, next
		if gap > 0 {
			pause(ctx, gap*3/4+rand.N(gap/2+1))
		}
	}
	return nil
}

func read(ctx context.Context, store Store, prefix string, revision uint64, fresh bool) ([]Pair, uint64, error) {
	if !fresh {
		return store.List(ctx, prefix)
	}
	return store.Wait(ctx, prefix, revision)
}

// pause returns after d or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
