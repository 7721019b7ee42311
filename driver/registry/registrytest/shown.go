package registrytest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/weft-net/weft/kvstore"
)

// Shown is a store that shows records beside its own, under any keys: a person may
// have made them in Consul, where weft's rules for keys do not hold. Show them before
// a host looks, or change something after it.
type Shown struct {
	kvstore.Store

	mu    sync.Mutex
	extra map[string]kvstore.Pair
}

// Show shows a record.
func (s *Shown) Show(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		s.extra = map[string]kvstore.Pair{}
	}
	s.extra[key] = kvstore.Pair{Key: key, Value: []byte(value), Revision: 1}
}

func (s *Shown) with(prefix string, pairs []kvstore.Pair) []kvstore.Pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	pairs = slices.Clone(pairs)
	for _, key := range slices.Sorted(maps.Keys(s.extra)) {
		if strings.HasPrefix(key, prefix) {
			pairs = append(pairs, s.extra[key])
		}
	}
	slices.SortFunc(pairs, func(a, b kvstore.Pair) int { return strings.Compare(a.Key, b.Key) })
	return pairs
}

// Get implements kvstore.Store.
func (s *Shown) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	if kvstore.CheckKey(key) != nil {
		return kvstore.Pair{}, fmt.Errorf("get %s: %w", key, kvstore.ErrInvalid)
	}
	return s.Store.Get(ctx, key)
}

// List implements kvstore.Store.
func (s *Shown) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	pairs, revision, err := s.Store.List(ctx, prefix)
	return s.with(prefix, pairs), revision, err
}

// Wait implements kvstore.Store.
func (s *Shown) Wait(ctx context.Context, prefix string, revision uint64) ([]kvstore.Pair, uint64, error) {
	pairs, now, err := s.Store.Wait(ctx, prefix, revision)
	return s.with(prefix, pairs), now, err
}
