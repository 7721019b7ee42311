// Package kvtest is the suite that every implementation of kvstore.Store
// passes. Its test functions say, one property each, what weft relies on. And it has
// stores with faults, for tests of who uses one.
package kvtest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/kvstore"
)

// Times of the suite.
const (
	soon    = 3 * time.Second        // for what the store does at once
	quiet   = 300 * time.Millisecond // for what must not happen
	ttl     = 10 * time.Second       // of leases; Consul knows none shorter
	expired = 3*ttl + soon           // for what a lease's end brings
)

// Run runs the suite. Each call of open gives a Store without any pairs; the
// suite closes it.
func Run(t *testing.T, open func(t *testing.T) kvstore.Store) {
	RunShared(t, func(t *testing.T) (kvstore.Store, kvstore.Store) {
		s := open(t)
		return s, s
	})
}

// RunShared is Run with two clients of the same data, for an implementation
// that allows several.
func RunShared(t *testing.T, open func(t *testing.T) (a, b kvstore.Store)) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, pair)
	}{
		{"ReadBack", testReadBack},
		{"ListSnapshot", testListSnapshot},
		{"Prefix", testPrefix},
		{"OddKeys", testOddKeys},
		{"Sizes", testSizes},
		{"Revisions", testRevisions},
		{"Refused", testRefused},
		{"Delete", testDelete},
		{"Conflicts", testConflicts},
		{"AllOrNothing", testAllOrNothing},
		{"Results", testResults},
		{"Increments", testIncrements},
		{"Transfers", testTransfers},
		{"WaitZero", testWaitZero},
		{"WaitPast", testWaitPast},
		{"WaitWakes", testWaitWakes},
		{"WaitEmpty", testWaitEmpty},
		{"WaitOthers", testWaitOthers},
		{"WaitEnds", testWaitEnds},
		{"WaitChain", testWaitChain},
		{"HoldShows", testHoldShows},
		{"HoldKept", testHoldKept},
		{"HoldSecond", testHoldSecond},
		{"HoldDeleted", testHoldDeleted},
		{"HoldGuarded", testHoldGuarded},
		{"EndedContext", testEndedContext},
		{"Close", testClose},
		{"CloseEndsCalls", testCloseEndsCalls},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, b := open(t)
			t.Cleanup(func() { _, _ = a.Close(), b.Close() })
			test.run(t, pair{a, b})
		})
	}
}

// pair is two Stores with the same data, or one twice.
type pair struct{ a, b kvstore.Store }

func set(key, value string) kvstore.Op {
	return kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(value)}
}

func cas(key, value string, revision uint64) kvstore.Op {
	return kvstore.Op{Kind: kvstore.CAS, Key: key, Value: []byte(value), Revision: revision}
}

func op(kind kvstore.OpKind, key string, revision uint64) kvstore.Op {
	return kvstore.Op{Kind: kind, Key: key, Revision: revision}
}

// txn carries ops out and returns the revisions written. On a machine that is
// too busy to answer within a call's time, what has no condition is repeated.
func txn(t *testing.T, s kvstore.Store, ops ...kvstore.Op) []uint64 {
	t.Helper()
	conditional := slices.ContainsFunc(ops, func(op kvstore.Op) bool {
		return op.Kind != kvstore.Set && op.Kind != kvstore.Delete
	})
	pairs, err := s.Txn(t.Context(), ops...)
	for range 2 {
		if conditional || !errors.Is(err, kvstore.ErrUnavailable) {
			break
		}
		t.Logf("Txn again after: %v", err)
		pairs, err = s.Txn(t.Context(), ops...)
	}
	if err != nil {
		t.Fatalf("Txn: %v", err)
	}
	revisions := make([]uint64, len(pairs))
	for i, p := range pairs {
		revisions[i] = p.Revision
	}
	return revisions
}

func get(t *testing.T, s kvstore.Store, key string) kvstore.Pair {
	t.Helper()
	p, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return p
}

func list(t *testing.T, s kvstore.Store, prefix string) ([]kvstore.Pair, uint64) {
	t.Helper()
	pairs, revision, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	if !slices.IsSortedFunc(pairs, func(a, b kvstore.Pair) int { return compare(a.Key, b.Key) }) {
		t.Errorf("List(%q) is not sorted: %v", prefix, keys(pairs))
	}
	return pairs, revision
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func keys(pairs []kvstore.Pair) []string {
	out := []string{}
	for _, p := range pairs {
		out = append(out, p.Key)
	}
	return out
}

// wantPairs compares keys and values.
func wantPairs(t *testing.T, got []kvstore.Pair, want map[string]string) {
	t.Helper()
	values := map[string]string{}
	for _, p := range got {
		values[p.Key] = string(p.Value)
	}
	if d := cmp.Diff(want, values); d != "" {
		t.Errorf("pairs (-want +got):\n%s", d)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

// wantConflict wants the conflict to name its operation.
func wantConflict(t *testing.T, err error, op int, key string) {
	t.Helper()
	wantErr(t, "Txn", err, kvstore.ErrConflict)
	var c *kvstore.ConflictError
	if !errors.As(err, &c) {
		t.Errorf("Txn = %T, want a ConflictError", err)
		return
	}
	if c.Op != op || c.Key != key {
		t.Errorf("conflict is of operation %d on %q, want %d on %q", c.Op, c.Key, op, key)
	}
}

// world is what one List or Wait gave.
type world struct {
	pairs    []kvstore.Pair
	revision uint64
	err      error
}

// wait starts one Wait.
func wait(ctx context.Context, s kvstore.Store, prefix string, revision uint64) <-chan world {
	c := make(chan world, 1)
	go func() {
		pairs, next, err := s.Wait(ctx, prefix, revision)
		c <- world{pairs, next, err}
	}()
	return c
}

// receive wants something from c within d.
func receive[T any](t *testing.T, what string, c <-chan T, d time.Duration) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(d):
		t.Fatalf("%s: nothing within %v", what, d)
		panic("unreachable")
	}
}
