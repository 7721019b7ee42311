package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/weft-net/weft/kvstore"
)

func testReadBack(t *testing.T, s pair) {
	_, err := s.a.Get(t.Context(), "x")
	wantErr(t, "Get of an absent key", err, kvstore.ErrNotFound)
	r := txn(t, s.a, set("x", "1"), set("y/z", "2"))
	p := get(t, s.b, "x")
	if string(p.Value) != "1" || p.Revision != r[0] || p.Key != "x" || p.Held {
		t.Errorf("Get = %+v, want 1 at revision %d, not held", p, r[0])
	}
}

// Two keys always written together are never seen apart.
func testListSnapshot(t *testing.T, s pair) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	txn(t, s.a, set("p/0", "0"), set("p/9", "0"))
	go func() {
		for i := 1; ctx.Err() == nil; i++ {
			v := strconv.Itoa(i)
			if _, err := s.a.Txn(ctx, set("p/0", v), set("p/9", v)); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 100 {
		pairs, _ := list(t, s.b, "p/")
		if len(pairs) != 2 || !bytes.Equal(pairs[0].Value, pairs[1].Value) || pairs[0].Revision != pairs[1].Revision {
			t.Errorf("List in the middle of a transaction: %+v", pairs)
			break
		}
	}
	cancel()
	if err := receive(t, "writer", done, soon); err != nil {
		t.Error(err)
	}
}

func testPrefix(t *testing.T, s pair) {
	pairs, revision := list(t, s.a, "")
	if len(pairs) != 0 || revision == 0 {
		t.Errorf("List of nothing = %v, %d, want no pairs and a revision", pairs, revision)
	}
	txn(t, s.a, set("a/b", "1"), set("a/bc", "2"), set("a", "3"), set("ab/c", "4"), set("b", "5"))
	for prefix, want := range map[string]map[string]string{
		"":     {"a/b": "1", "a/bc": "2", "a": "3", "ab/c": "4", "b": "5"},
		"a":    {"a/b": "1", "a/bc": "2", "a": "3", "ab/c": "4"},
		"a/":   {"a/b": "1", "a/bc": "2"},
		"a/bc": {"a/bc": "2"},
		"b/":   {},
		"c":    {},
	} {
		pairs, _ := list(t, s.b, prefix)
		wantPairs(t, pairs, want)
	}
}

func testOddKeys(t *testing.T, s pair) {
	want := map[string]string{}
	for i, key := range []string{
		"n/x.y_z-1/a/2001:db8::1", "n/x/a/10.0.0.1", "h/a b", "h/a%2Fb", "h/a?b=c", "h/a#b", "h/ü", "h/+", "h/..a",
		strings.Repeat("k", 512),
	} {
		want[key] = strconv.Itoa(i)
		txn(t, s.a, set(key, want[key]))
		if p := get(t, s.b, key); p.Key != key || string(p.Value) != want[key] {
			t.Errorf("Get(%q) = %+v", key, p)
		}
	}
	pairs, _ := list(t, s.b, "")
	wantPairs(t, pairs, want)
	pairs, _ = list(t, s.b, "n/x.y_z-1/a/2001:")
	wantPairs(t, pairs, map[string]string{"n/x.y_z-1/a/2001:db8::1": "0"})
}

func testSizes(t *testing.T, s pair) {
	big := make([]byte, kvstore.MaxBytes-len("big"))
	for i := range big {
		big[i] = byte(rand.N(256))
	}
	txn(t, s.a, op(kvstore.Set, "none", 0))
	txn(t, s.a, kvstore.Op{Kind: kvstore.CAS, Key: "big", Value: big})
	if p := get(t, s.b, "none"); len(p.Value) != 0 || p.Revision == 0 {
		t.Errorf("empty value = %+v", p)
	}
	if p := get(t, s.b, "big"); !bytes.Equal(p.Value, big) {
		t.Errorf("value of %d bytes came back as another of %d", len(big), len(p.Value))
	}
	// As many operations of as long a key as there may be.
	var ops []kvstore.Op
	for i := range kvstore.MaxOps {
		ops = append(ops, set(fmt.Sprintf("%0512d", i), strings.Repeat("v", kvstore.MaxBytes/kvstore.MaxOps-512)))
	}
	if n := len(txn(t, s.a, ops...)); n != kvstore.MaxOps {
		t.Errorf("%d operations gave %d results", kvstore.MaxOps, n)
	}
	if pairs, _ := list(t, s.b, "0"); len(pairs) != kvstore.MaxOps {
		t.Errorf("%d operations made %d pairs", kvstore.MaxOps, len(pairs))
	}
}

func testRevisions(t *testing.T, s pair) {
	last := uint64(0)
	for i := range 5 {
		r := txn(t, s.a, set("x", strconv.Itoa(i)))[0]
		if r <= last {
			t.Errorf("revision %d after %d", r, last)
		}
		last = r
		_, world := list(t, s.b, "x")
		if world < r {
			t.Errorf("List's revision %d is before %d of a pair in it", world, r)
		}
	}
	if r := txn(t, s.a, set("x", "4"))[0]; r != last {
		t.Errorf("writing the same value: revision %d, want %d as before", r, last)
	}
	txn(t, s.a, set("other", "1"))
	if r := get(t, s.a, "x").Revision; r != last {
		t.Errorf("revision %d after a write of another key, want %d", r, last)
	}
	txn(t, s.a, op(kvstore.Delete, "x", 0))
	if r := txn(t, s.a, set("x", "4"))[0]; r <= last {
		t.Errorf("revision %d of a key made again, want more than %d", r, last)
	}
}

func testRefused(t *testing.T, s pair) {
	many := make([]kvstore.Op, kvstore.MaxOps+1)
	for i := range many {
		many[i] = set(fmt.Sprintf("k/%d", i), "v")
	}
	for what, ops := range map[string][]kvstore.Op{
		"too many operations": many,
		"too many bytes":      {set("k/1", "v"), set("k/2", strings.Repeat("x", kvstore.MaxBytes))},
		"no kind":             {set("k/1", "v"), {Key: "k/2"}},
		"no key":              {set("k/1", "v"), set("", "v")},
		"a slash at the end":  {set("k/1", "v"), set("k/", "v")},
		"no revision":         {set("k/1", "v"), op(kvstore.DeleteCAS, "k/2", 0)},
	} {
		_, err := s.a.Txn(t.Context(), ops...)
		wantErr(t, "Txn with "+what, err, kvstore.ErrInvalid)
	}
	_, err := s.a.Get(t.Context(), "/k")
	wantErr(t, "Get of no key", err, kvstore.ErrInvalid)
	_, _, err = s.a.List(t.Context(), "k/../")
	wantErr(t, "List of no prefix", err, kvstore.ErrInvalid)
	_, _, err = s.a.Wait(t.Context(), "k//", 1)
	wantErr(t, "Wait for no prefix", err, kvstore.ErrInvalid)
	err = s.a.Hold(t.Context(), "me", "k//", nil, ttl, nil)
	wantErr(t, "Hold of no key", err, kvstore.ErrInvalid)
	err = s.a.Hold(t.Context(), "", "k", nil, ttl, nil)
	wantErr(t, "Hold without a name", err, kvstore.ErrInvalid)
	pairs, _ := list(t, s.a, "")
	wantPairs(t, pairs, map[string]string{})
	if results, err := s.a.Txn(t.Context()); err != nil || len(results) != 0 {
		t.Errorf("Txn of nothing = %v, %v", results, err)
	}
}

func testDelete(t *testing.T, s pair) {
	txn(t, s.a, set("x", "1"))
	txn(t, s.a, op(kvstore.Delete, "x", 0))
	_, err := s.b.Get(t.Context(), "x")
	wantErr(t, "Get of a deleted key", err, kvstore.ErrNotFound)
	txn(t, s.a, op(kvstore.Delete, "x", 0)) // again
	r := txn(t, s.a, set("y", "1"))[0]
	txn(t, s.a, op(kvstore.DeleteCAS, "y", r))
	txn(t, s.a, op(kvstore.DeleteCAS, "y", r)) // again
	pairs, _ := list(t, s.b, "")
	wantPairs(t, pairs, map[string]string{})
}

// Each condition that does not hold is named by its place, in the middle of
// operations that would do.
func testConflicts(t *testing.T, s pair) {
	r := txn(t, s.a, set("x", "1"), set("y", "1"))
	old := r[0]
	r = txn(t, s.a, set("x", "2"))
	for what, bad := range map[string]kvstore.Op{
		"CAS of a present key as absent":   cas("x", "3", 0),
		"CAS with an old revision":         cas("x", "3", old),
		"CAS of an absent key":             cas("z", "3", old),
		"DeleteCAS with an old revision":   op(kvstore.DeleteCAS, "x", old),
		"Check with an old revision":       op(kvstore.Check, "x", old),
		"Check of a present key as absent": op(kvstore.Check, "x", 0),
		"Check of an absent key":           op(kvstore.Check, "z", old),
	} {
		t.Run(what, func(t *testing.T) {
			_, err := s.a.Txn(t.Context(), set("new", "1"), op(kvstore.Check, "x", r[0]), bad, op(kvstore.Check, "absent", 0))
			wantConflict(t, err, 2, bad.Key)
		})
	}
	_, err := s.a.Txn(t.Context(), op(kvstore.Check, "x", r[0]), op(kvstore.Check, "y", 0))
	wantConflict(t, err, 1, "y") // no operation that writes
	pairs, _ := list(t, s.b, "")
	wantPairs(t, pairs, map[string]string{"x": "2", "y": "1"})
}

func testAllOrNothing(t *testing.T, s pair) {
	r := txn(t, s.a, set("x", "1"), set("y", "1"))
	_, err := s.a.Txn(t.Context(),
		set("new", "1"), op(kvstore.Delete, "x", 0), set("y", "2"), cas("y", "3", 0))
	wantConflict(t, err, 3, "y")
	pairs, _ := list(t, s.b, "")
	wantPairs(t, pairs, map[string]string{"x": "1", "y": "1"})
	txn(t, s.a, set("new", "1"), op(kvstore.Delete, "x", 0), cas("y", "2", r[1]), op(kvstore.Check, "z", 0))
	pairs, _ = list(t, s.b, "")
	wantPairs(t, pairs, map[string]string{"new": "1", "y": "2"})
}

// One result for each Set and CAS, whatever stands between them.
func testResults(t *testing.T, s pair) {
	r := txn(t, s.a, set("x", "1"), set("y", "1"))
	results, err := s.a.Txn(t.Context(),
		op(kvstore.Check, "x", r[0]), set("b", "1"), op(kvstore.Check, "absent", 0), op(kvstore.Delete, "none", 0),
		cas("y", "2", r[1]), op(kvstore.DeleteCAS, "x", r[0]), set("a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(keys(results)); got != "[b y a]" {
		t.Errorf("results are of %s, want [b y a]", got)
	}
	for _, p := range results {
		now := get(t, s.b, p.Key)
		if p.Value != nil || p.Revision != now.Revision {
			t.Errorf("result %+v, want no value and revision %d", p, now.Revision)
		}
	}
	if n := len(txn(t, s.a, op(kvstore.Check, "a", results[2].Revision))); n != 0 {
		t.Errorf("a Check alone gave %d results", n)
	}
}

// Concurrent increments by compare-and-set lose nothing.
func testIncrements(t *testing.T, s pair) {
	const workers, each = 6, 10
	increment := func(s kvstore.Store) error {
		for {
			p, err := s.Get(t.Context(), "n")
			if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
				return err
			}
			n, _ := strconv.Atoi(string(p.Value))
			_, err = s.Txn(t.Context(), cas("n", strconv.Itoa(n+1), p.Revision))
			if !errors.Is(err, kvstore.ErrConflict) {
				return err
			}
		}
	}
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for range each {
				if err := increment([]kvstore.Store{s.a, s.b}[i%2]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if v := string(get(t, s.a, "n").Value); v != strconv.Itoa(workers*each) {
		t.Errorf("n = %s after %d increments", v, workers*each)
	}
}

// Random transfers between keys by several clients keep the sum, in every
// snapshot.
func testTransfers(t *testing.T, s pair) {
	const accounts, total = 5, 500
	var ops []kvstore.Op
	for i := range accounts {
		ops = append(ops, set(fmt.Sprintf("acc/%d", i), strconv.Itoa(total/accounts)))
	}
	txn(t, s.a, ops...)
	sum := func(pairs []kvstore.Pair) (n int) {
		for _, p := range pairs {
			v, _ := strconv.Atoi(string(p.Value))
			n += v
		}
		return n
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s := []kvstore.Store{s.a, s.b}[i%2]
			for range 25 {
				pairs, _, err := s.List(t.Context(), "acc/")
				if err != nil || sum(pairs) != total {
					t.Errorf("sum = %d, %v, want %d", sum(pairs), err, total)
					return
				}
				from, to := rand.N(accounts), rand.N(accounts-1)
				if to >= from {
					to++
				}
				f, _ := strconv.Atoi(string(pairs[from].Value))
				g, _ := strconv.Atoi(string(pairs[to].Value))
				_, err = s.Txn(t.Context(),
					cas(pairs[from].Key, strconv.Itoa(f-7), pairs[from].Revision),
					cas(pairs[to].Key, strconv.Itoa(g+7), pairs[to].Revision))
				if err != nil && !errors.Is(err, kvstore.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
