package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/weft-net/weft/kvstore"
)

const (
	// longestWait is how long Consul may hold back the answer of one Wait. It
	// adds up to a sixteenth, so that waits that began together do not end so.
	longestWait = time.Minute
	waitTime    = longestWait + longestWait/16 + 5*time.Second
	// waitGap lies at least between two waits for the same prefix: 20 in a
	// second are enough for anybody, and end every spin.
	waitGap = 50 * time.Millisecond
	// emptyGap is the longest between two waits for a prefix without keys,
	// which returns at every write in the datacenter.
	emptyGap = time.Second
	// maxSeen bounds Store.seen.
	maxSeen = 4096
)

// seen is what is known of a prefix from the last read of it.
type seen struct {
	at    time.Time
	empty uint64 // its revision if there was no key, else 0
}

// note remembers a read. Forgetting does no harm but a superfluous wake.
func (s *Store) note(prefix string, pairs []kvstore.Pair, revision uint64) {
	now := seen{at: time.Now()}
	if len(pairs) == 0 {
		now.empty = revision
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) >= maxSeen {
		clear(s.seen)
	}
	s.seen[prefix] = now
}

func (s *Store) last(prefix string) seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[prefix]
}

// Wait implements kvstore.Store.
func (s *Store) Wait(ctx context.Context, prefix string, revision uint64) ([]kvstore.Pair, uint64, error) {
	var pairs []kvstore.Pair
	err := kvstore.CheckPrefix(prefix)
	if err == nil {
		err = s.during(ctx, true, func(ctx context.Context) (err error) {
			if revision == 0 {
				pairs, revision, err = s.list(ctx, prefix)
			} else {
				pairs, revision, err = s.wait(ctx, prefix, revision)
			}
			return err
		})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("wait for %s: %w", prefix, err)
	}
	return pairs, revision, nil
}

func (s *Store) wait(ctx context.Context, prefix string, revision uint64) ([]kvstore.Pair, uint64, error) {
	last := s.last(prefix)
	end := time.Now().Add(longestWait)
	for gap := waitGap; ; gap = min(2*gap, emptyGap) {
		if err := pause(ctx, time.Until(last.at.Add(gap))); err != nil {
			return nil, 0, err
		}
		pairs, next, err := s.waitOnce(ctx, prefix, revision, time.Until(end))
		if err != nil {
			return nil, 0, err
		}
		if next == revision && time.Until(end) > waitGap {
			// Woken for nothing: Consul may have been restored from a snapshot,
			// and answers such a wait with what was before. The restored index
			// is smaller, so to wait on would be to miss it.
			if pairs, next, err = s.waitOnce(ctx, prefix, 0, time.Until(end)); err != nil {
				return nil, 0, err
			}
		}
		knownEmpty := last.empty == revision && len(pairs) == 0
		if len(pairs) == 0 && !knownEmpty {
			if err := s.mayRead(ctx, prefix); err != nil {
				return nil, 0, err
			}
		}
		s.note(prefix, pairs, next)
		// A smaller index says that Consul lost data, or only that it has
		// cleaned up behind deleted keys; either way it is the one to go on with.
		if !knownEmpty || next < revision || time.Until(end) < waitGap {
			return pairs, next, nil
		}
		revision, last = next, seen{at: time.Now(), empty: next}
	}
}

// waitOnce makes one blocking request of at most d.
func (s *Store) waitOnce(ctx context.Context, prefix string, revision uint64, d time.Duration) (pairs []kvstore.Pair, next uint64, err error) {
	d = max(d, waitGap)
	err = s.once(ctx, "wait", d+waitTime-longestWait, func(ctx context.Context, c *api.Client) (err error) {
		o := &api.QueryOptions{WaitIndex: revision, WaitTime: d}
		pairs, next, err = s.listOnce(c, prefix, o.WithContext(ctx))
		return err
	})
	return pairs, next, err
}

// waitFree returns once nobody holds key. A lease with this value is ended
// instead, unless this Store has held the key before: it is of an earlier process
// then, which died without letting go.
func (s *Store) waitFree(ctx context.Context, key string, value []byte) error {
	index, inherited := uint64(0), !s.hasHeld(key)
	for told := false; ; told = true {
		began := time.Now()
		var holder string
		var left bool
		limit := callTime
		if index > 0 {
			limit = waitTime
		}
		err := s.once(ctx, "wait", limit, func(ctx context.Context, c *api.Client) error {
			o := &api.QueryOptions{WaitIndex: index, WaitTime: longestWait}
			p, meta, err := c.KV().Get(s.key(key), o.WithContext(ctx))
			if err != nil {
				return err
			}
			index = max(1, meta.LastIndex)
			if p != nil {
				holder, left = p.Session, len(value) > 0 && bytes.Equal(p.Value, value)
			}
			return nil
		})
		switch {
		case errors.Is(err, kvstore.ErrUnavailable) && ctx.Err() == nil && told:
			index = 0
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case holder == "":
			return nil
		}
		if left && inherited {
			s.destroy(ctx, holder)
			inherited = false
			continue
		}
		if !told {
			s.cfg.Log.WithField("key", key).Info("key is held by another lease, waiting until that lets go")
		}
		if err := pause(ctx, time.Until(began.Add(waitGap))); err != nil {
			return err
		}
	}
}
