package kvtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
)

func testWaitZero(t *testing.T, s pair) {
	for range 2 { // empty, then not
		w := receive(t, "Wait with revision 0", wait(t.Context(), s.a, "p/", 0), soon)
		pairs, _ := list(t, s.a, "p/")
		if w.err != nil || w.revision == 0 || len(w.pairs) != len(pairs) {
			t.Errorf("Wait with revision 0 = %+v, want what List gives: %v", w, pairs)
		}
		txn(t, s.a, set("p/x", "1"))
	}
}

// What happened between List and Wait is not missed.
func testWaitPast(t *testing.T, s pair) {
	txn(t, s.a, set("p/x", "1"))
	_, revision := list(t, s.a, "p/")
	txn(t, s.a, set("p/x", "2"))
	txn(t, s.a, set("q", "1"))
	w := receive(t, "Wait", wait(t.Context(), s.b, "p/", revision), soon)
	wantPairs(t, w.pairs, map[string]string{"p/x": "2"})

	txn(t, s.a, op(kvstore.Delete, "p/x", 0))
	w = receive(t, "Wait", wait(t.Context(), s.b, "p/", w.revision), soon)
	wantPairs(t, w.pairs, map[string]string{})
}

func testWaitWakes(t *testing.T, s pair) {
	r := txn(t, s.a, set("p/keep", "0"), set("p/x", "1"))
	for _, step := range []struct {
		what string
		op   kvstore.Op
		want map[string]string
	}{
		{"a put", set("p/y", "2"), map[string]string{"p/keep": "0", "p/x": "1", "p/y": "2"}},
		{"a change", cas("p/x", "3", r[1]), map[string]string{"p/keep": "0", "p/x": "3", "p/y": "2"}},
		{"a delete", op(kvstore.Delete, "p/y", 0), map[string]string{"p/keep": "0", "p/x": "3"}},
		{"a delete of the first", op(kvstore.Delete, "p/keep", 0), map[string]string{"p/x": "3"}},
		{"a delete of the last", op(kvstore.Delete, "p/x", 0), map[string]string{}},
		{"a put into nothing", set("p/z", "4"), map[string]string{"p/z": "4"}},
	} {
		_, revision := list(t, s.b, "p/")
		c := wait(t.Context(), s.b, "p/", revision)
		time.Sleep(quiet / 3)
		start := time.Now()
		txn(t, s.a, step.op)
		w := receive(t, "Wait after "+step.what, c, soon)
		if w.err != nil {
			t.Fatalf("Wait after %s: %v", step.what, w.err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("Wait after %s took %v", step.what, d)
		}
		wantPairs(t, w.pairs, step.want)
		if w.revision <= revision {
			t.Errorf("Wait after %s: revision %d after %d", step.what, w.revision, revision)
		}
	}
}

// A prefix without keys is waited for like any other, and without a stream of
// wakes while other keys are written.
func testWaitEmpty(t *testing.T, s pair) {
	_, revision := list(t, s.b, "none/")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wakes := make(chan world, 1000)
	go func() {
		for ctx.Err() == nil {
			pairs, next, err := s.b.Wait(ctx, "none/", revision)
			wakes <- world{pairs, next, err}
			revision = next
		}
	}()
	for i := range 200 {
		txn(t, s.a, set("other", fmt.Sprint(i)))
	}
	time.Sleep(quiet)
	if n := len(wakes); n > 20 {
		t.Errorf("%d wakes of an empty prefix for 200 writes elsewhere", n)
	}
	for len(wakes) > 0 {
		<-wakes
	}
	txn(t, s.a, set("none/x", "1"))
	for {
		w := receive(t, "Wait", wakes, soon)
		if w.err != nil {
			t.Fatal(w.err)
		}
		if len(w.pairs) == 1 {
			break
		}
	}
}

// Writes elsewhere do not wake, or with what was there before.
func testWaitOthers(t *testing.T, s pair) {
	txn(t, s.a, set("p/x", "1"), set("pp", "1"))
	_, revision := list(t, s.b, "p/")
	c := wait(t.Context(), s.b, "p/", revision)
	for i := range 10 {
		txn(t, s.a, set("q/x", fmt.Sprint(i)), set("pp", fmt.Sprint(i)))
	}
	select {
	case w := <-c:
		if w.err != nil {
			t.Fatal(w.err)
		}
		wantPairs(t, w.pairs, map[string]string{"p/x": "1"})
		c = wait(t.Context(), s.b, "p/", w.revision)
	case <-time.After(quiet):
	}
	txn(t, s.a, set("p/x", "2"))
	w := receive(t, "Wait", c, soon)
	wantPairs(t, w.pairs, map[string]string{"p/x": "2"})
}

func testWaitEnds(t *testing.T, s pair) {
	txn(t, s.a, set("p/x", "1"))
	for _, prefix := range []string{"p/", "none/"} {
		_, revision := list(t, s.a, prefix)
		ctx, cancel := context.WithCancel(t.Context())
		c := wait(ctx, s.a, prefix, revision)
		time.Sleep(quiet / 3)
		cancel()
		w := receive(t, "Wait after its context's end", c, quiet)
		wantErr(t, "Wait after its context's end", w.err, context.Canceled)
	}
}

// A follower that chains Waits sees the last state, however fast it changes.
func testWaitChain(t *testing.T, s pair) {
	const writes = 300
	txn(t, s.a, set("p/n", "0"))
	done := make(chan error, 1)
	go func() {
		for i := 1; i <= writes; i++ {
			if _, err := s.a.Txn(t.Context(), set("p/n", fmt.Sprint(i))); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	pairs, revision := list(t, s.b, "p/")
	wakes := 0
	for string(pairs[0].Value) != fmt.Sprint(writes) {
		var err error
		if pairs, revision, err = s.b.Wait(ctx, "p/", revision); err != nil {
			t.Fatalf("after %d wakes: %v", wakes, err)
		}
		wakes++
	}
	if err := receive(t, "writer", done, soon); err != nil {
		t.Error(err)
	}
	t.Logf("%d writes, %d wakes", writes, wakes)
}

func testEndedContext(t *testing.T, s pair) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.a.Get(ctx, "x")
	wantErr(t, "Get", err, context.Canceled)
	_, _, err = s.a.List(ctx, "")
	wantErr(t, "List", err, context.Canceled)
	_, err = s.a.Txn(ctx, set("x", "1"))
	wantErr(t, "Txn", err, context.Canceled)
	if err := s.a.Hold(ctx, "me", "x", nil, ttl, nil); err != nil {
		t.Errorf("Hold = %v, want nil", err)
	}
	_, err = s.a.Get(t.Context(), "x")
	wantErr(t, "Get", err, kvstore.ErrNotFound)
}

func testClose(t *testing.T, s pair) {
	txn(t, s.a, set("x", "1"))
	if err := s.a.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.a.Get(t.Context(), "x")
	wantErr(t, "Get", err, kvstore.ErrClosed)
	_, _, err = s.a.List(t.Context(), "")
	wantErr(t, "List", err, kvstore.ErrClosed)
	_, _, err = s.a.Wait(t.Context(), "", 1)
	wantErr(t, "Wait", err, kvstore.ErrClosed)
	_, err = s.a.Txn(t.Context(), set("x", "1"))
	wantErr(t, "Txn", err, kvstore.ErrClosed)
	wantErr(t, "Hold", s.a.Hold(t.Context(), "me", "x", nil, ttl, nil), kvstore.ErrClosed)
	if err := s.a.Close(); err != nil && !errors.Is(err, kvstore.ErrClosed) {
		t.Errorf("second Close = %v", err)
	}
}

func testCloseEndsCalls(t *testing.T, s pair) {
	txn(t, s.a, set("p/x", "1"))
	_, revision := list(t, s.a, "p/")
	w := wait(t.Context(), s.a, "p/", revision)
	h := hold(t.Context(), s.a, "me", "h")
	receive(t, "held", h.held, soon)
	time.Sleep(quiet / 3)
	if err := s.a.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Wait at Close", receive(t, "Wait at Close", w, soon).err, kvstore.ErrClosed)
	wantErr(t, "Hold at Close", receive(t, "Hold at Close", h.done, soon), kvstore.ErrClosed)
}
