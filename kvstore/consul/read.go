package consul

import (
	"context"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/weft-net/weft/kvstore"
)

// Get implements kvstore.Store.
func (s *Store) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	var p kvstore.Pair
	err := kvstore.CheckKey(key)
	if err == nil {
		err = s.during(ctx, false, func(ctx context.Context) (err error) {
			p, _, err = s.get(ctx, key)
			return err
		})
	}
	if err != nil {
		return kvstore.Pair{}, fmt.Errorf("get %s: %w", key, err)
	}
	return p, nil
}

// List implements kvstore.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	var pairs []kvstore.Pair
	var revision uint64
	err := kvstore.CheckPrefix(prefix)
	if err == nil {
		err = s.during(ctx, false, func(ctx context.Context) (err error) {
			pairs, revision, err = s.list(ctx, prefix)
			return err
		})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	return pairs, revision, nil
}

// during runs f as a call that Close ends, and lease trouble too if it waits.
func (s *Store) during(ctx context.Context, waits bool, f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, done, err := s.calls.begin(ctx, waits)
	if err != nil {
		return err
	}
	defer done()
	return f(ctx)
}

// get reads one key. session is that of its holder, if any.
func (s *Store) get(ctx context.Context, key string) (pair kvstore.Pair, session string, err error) {
	err = s.call(ctx, "get", true, func(ctx context.Context, c *api.Client) error {
		p, _, err := c.KV().Get(s.key(key), latest(ctx))
		if err != nil {
			return err
		}
		if p == nil {
			return kvstore.ErrNotFound
		}
		pair, session = s.pair(p), p.Session
		return nil
	})
	return pair, session, err
}

// list reads a prefix without waiting.
func (s *Store) list(ctx context.Context, prefix string) (pairs []kvstore.Pair, revision uint64, err error) {
	err = s.call(ctx, "list", true, func(ctx context.Context, c *api.Client) (err error) {
		pairs, revision, err = s.listOnce(c, prefix, latest(ctx))
		return err
	})
	if err == nil && len(pairs) == 0 {
		err = s.mayRead(ctx, prefix)
	}
	if err != nil {
		return nil, 0, err
	}
	s.note(prefix, pairs, revision)
	return pairs, revision, nil
}

// listOnce makes one request. Consul sorts by key.
func (s *Store) listOnce(c *api.Client, prefix string, o *api.QueryOptions) ([]kvstore.Pair, uint64, error) {
	found, meta, err := c.KV().List(s.key(prefix), o)
	if err != nil {
		return nil, 0, err
	}
	pairs := make([]kvstore.Pair, 0, len(found))
	for _, p := range found {
		pairs = append(pairs, s.pair(p))
	}
	return pairs, max(1, meta.LastIndex), nil // 0 would make the next Wait not wait
}

// mayRead tells a prefix without keys from one that the token does not let us
// see: Consul leaves keys out of a list without a word, but refuses one key.
func (s *Store) mayRead(ctx context.Context, prefix string) error {
	return s.call(ctx, "get", true, func(ctx context.Context, c *api.Client) error {
		_, _, err := c.KV().Get(s.key(prefix)+"probe", read(ctx))
		return err
	})
}
