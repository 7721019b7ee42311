package kvtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// holder is a running Hold.
type holder struct {
	held chan struct{} // gets one value once held
	done chan error
}

func hold(ctx context.Context, s kvstore.Store, name, key string) holder {
	h := holder{make(chan struct{}, 1), make(chan error, 1)}
	go func() {
		h.done <- s.Hold(ctx, name, key, []byte(name), ttl, func() { h.held <- struct{}{} })
	}()
	return h
}

// Others see the key held with its value while Hold runs, and let go as soon as
// its context has ended; both wake them.
func testHoldShows(t *testing.T, s pair) {
	txn(t, s.a, set("h/x", "before"), set("h/y", "1"))
	_, revision := list(t, s.b, "h/")
	w := wait(t.Context(), s.b, "h/", revision)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := hold(ctx, s.a, "me", "h/x")
	receive(t, "held", h.held, soon)
	p := get(t, s.b, "h/x")
	if !p.Held || string(p.Value) != "me" {
		t.Errorf("while held: %+v, want me, held", p)
	}
	if get(t, s.b, "h/y").Held {
		t.Error("another key is held")
	}
	if got := receive(t, "Wait for the hold", w, soon); len(got.pairs) != 2 {
		t.Errorf("Wait for the hold = %+v", got)
	}
	pairs, revision := list(t, s.b, "h/")
	if !pairs[0].Held || pairs[1].Held {
		t.Errorf("List while h/x is held: %+v", pairs)
	}

	w = wait(t.Context(), s.b, "h/", revision)
	time.Sleep(quiet)
	cancel()
	if got := receive(t, "Wait for the end", w, soon); got.err != nil || got.pairs[0].Held {
		t.Errorf("Wait for the end = %+v, want h/x not held", got)
	}
	if err := receive(t, "Hold at its context's end", h.done, soon); err != nil {
		t.Errorf("Hold at its context's end = %v, want nil", err)
	}
	p = get(t, s.b, "h/x")
	if p.Held || string(p.Value) != "me" {
		t.Errorf("afterwards: %+v, want me, not held", p)
	}
	h = hold(t.Context(), s.b, "me", "h/x")
	receive(t, "held again", h.held, soon)
	if err := s.b.Close(); err != nil {
		t.Error(err)
	}
	wantErr(t, "Hold at Close", receive(t, "Hold at Close", h.done, soon), kvstore.ErrClosed)
}

// Writing a held key, by whomever, keeps it held.
func testHoldKept(t *testing.T, s pair) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := hold(ctx, s.a, "me", "h/x")
	receive(t, "held", h.held, soon)
	txn(t, s.a, set("h/x", "2"))
	p := get(t, s.b, "h/x")
	if !p.Held || string(p.Value) != "2" {
		t.Errorf("after Set: %+v, want 2, held", p)
	}
	txn(t, s.b, cas("h/x", "3", p.Revision))
	if p := get(t, s.a, "h/x"); !p.Held || string(p.Value) != "3" {
		t.Errorf("after CAS: %+v, want 3, held", p)
	}
	cancel()
	if err := receive(t, "Hold", h.done, soon); err != nil {
		t.Error(err)
	}
	if p := get(t, s.a, "h/x"); p.Held || string(p.Value) != "3" {
		t.Errorf("afterwards: %+v, want 3, not held", p)
	}
}

// A second holder waits for the first, and has not written meanwhile; several
// keys under one name do not disturb each other.
func testHoldSecond(t *testing.T, s pair) {
	first, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := hold(first, s.a, "one", "h/x")
	receive(t, "first", a.held, soon)
	other, stop := context.WithCancel(t.Context())
	defer stop()
	o := hold(other, s.a, "one", "h/other")
	receive(t, "another key", o.held, soon)

	second, end := context.WithCancel(t.Context())
	defer end()
	b := hold(second, s.b, "two", "h/x")
	impatient, giveUp := context.WithTimeout(t.Context(), quiet)
	defer giveUp()
	c := hold(impatient, s.b, "three", "h/x")
	if err := receive(t, "a waiting Hold at its context's end", c.done, soon); err != nil || len(c.held) != 0 {
		t.Errorf("a waiting Hold at its context's end = %v, held %d", err, len(c.held))
	}
	if p := get(t, s.b, "h/x"); len(b.held) != 0 || string(p.Value) != "one" {
		t.Errorf("while one holds, two: held %d, %+v", len(b.held), p)
	}
	cancel()
	receive(t, "second", b.held, soon)
	if p := get(t, s.a, "h/x"); !p.Held || string(p.Value) != "two" {
		t.Errorf("second: %+v, want two, held", p)
	}
	if !get(t, s.a, "h/other").Held {
		t.Error("the other key under the first name is not held any more")
	}
	end()
	stop()
	for _, h := range []holder{a, b, o} {
		if err := receive(t, "Hold", h.done, soon); err != nil {
			t.Error(err)
		}
	}
}

// A holder learns that its key was deleted, and can hold it again.
func testHoldDeleted(t *testing.T, s pair) {
	h := hold(t.Context(), s.a, "me", "h/x")
	receive(t, "held", h.held, soon)
	txn(t, s.b, op(kvstore.Delete, "h/x", 0))
	wantErr(t, "Hold of a deleted key", receive(t, "Hold", h.done, expired), kvstore.ErrConflict)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h = hold(ctx, s.a, "me", "h/x")
	receive(t, "held again", h.held, soon)
	cancel()
	if err := receive(t, "Hold", h.done, soon); err != nil {
		t.Error(err)
	}
}

// A guard that does not hold keeps the key from being held or written.
func testHoldGuarded(t *testing.T, s pair) {
	txn(t, s.a, set("dead", "1"))
	absent := kvstore.Op{Kind: kvstore.Check, Key: "dead"}
	err := s.a.Hold(t.Context(), "me", "live", []byte("me"), ttl, nil, absent)
	var conflict *kvstore.ConflictError
	if !errors.As(err, &conflict) || conflict.Op != 1 || conflict.Key != "dead" {
		t.Errorf("Hold against its guard = %v, want a conflict of operation 1 on dead", err)
	}
	_, err = s.b.Get(t.Context(), "live")
	wantErr(t, "the key", err, kvstore.ErrNotFound)
	err = s.a.Hold(t.Context(), "me", "live", nil, ttl, nil, kvstore.Op{Kind: kvstore.Set, Key: "x"})
	wantErr(t, "Hold with a guard that is no Check", err, kvstore.ErrInvalid)

	txn(t, s.b, kvstore.Op{Kind: kvstore.Delete, Key: "dead"})
	held := make(chan struct{})
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		done <- s.a.Hold(ctx, "me", "live", []byte("me"), ttl, func() { close(held) }, absent)
	}()
	receive(t, "held", held, soon)
	cancel()
	if err := receive(t, "Hold's end", done, soon); err != nil {
		t.Error(err)
	}
}
