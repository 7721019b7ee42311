package kvstore

import (
	"context"
	"iter"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A change of keys that other hosts change too is tried so often, with pauses that
// grow from the first to the longest, half more or less with jitter. Hosts that
// tried again at once would meet each other again. All pauses together take 1.3 s.
const (
	maxAttempts  = 20
	firstPause   = 2 * time.Millisecond
	longestPause = 100 * time.Millisecond
)

// Attempts yields the number of each attempt, from 0, after its pause. It does not
// wait once ctx has ended: the store's answer says so.
func Attempts(ctx context.Context) iter.Seq[int] {
	return func(yield func(int) bool) {
		pause := backoff.NewExponentialBackOff()
		pause.InitialInterval, pause.MaxInterval = firstPause, longestPause
		for i := range maxAttempts {
			if i > 0 {
				select {
				case <-ctx.Done():
				case <-time.After(pause.NextBackOff()):
				}
			}
			if !yield(i) {
				return
			}
		}
	}
}
