package kvtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// inside is the key of a value of the hook's context.
type inside struct{}

// teller is a store that tells how it was called last, and answers.
type teller struct {
	called string
	inside any
}

var (
	pairs   = []kvstore.Pair{{Key: "k", Value: []byte("v"), Revision: 3}}
	errMine = errors.New("mine")
)

func (s *teller) call(ctx context.Context, arguments ...any) {
	s.called, s.inside = fmt.Sprint(arguments...), ctx.Value(inside{})
}

func (s *teller) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	s.call(ctx, "Get ", key)
	return pairs[0], nil
}

func (s *teller) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	s.call(ctx, "List ", prefix)
	return pairs, 4, nil
}

func (s *teller) Wait(ctx context.Context, prefix string, revision uint64) ([]kvstore.Pair, uint64, error) {
	s.call(ctx, "Wait ", prefix, revision)
	return pairs, 5, nil
}

func (s *teller) Txn(ctx context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	s.call(ctx, "Txn ", ops)
	return pairs, nil
}

func (s *teller) Hold(ctx context.Context, name, key string, value []byte, ttl time.Duration, held func(), guards ...kvstore.Op) error {
	held()
	s.call(ctx, "Hold ", name, key, string(value), ttl, guards)
	return errMine
}

func (s *teller) Close() error {
	s.called = "Close"
	return errMine
}

// requests are one of each method. Each gives all that it brings, its error last.
var requests = []struct {
	kvtest.Request
	make func(kvstore.Store) (any, error)
}{
	{kvtest.Request{Method: kvtest.Get, Key: "get"}, func(s kvstore.Store) (any, error) {
		p, err := s.Get(context.Background(), "get")
		return p, err
	}},
	{kvtest.Request{Method: kvtest.List, Key: "list"}, func(s kvstore.Store) (any, error) {
		pairs, revision, err := s.List(context.Background(), "list")
		return []any{pairs, revision}, err
	}},
	{kvtest.Request{Method: kvtest.Wait, Key: "wait"}, func(s kvstore.Store) (any, error) {
		pairs, revision, err := s.Wait(context.Background(), "wait", 6)
		return []any{pairs, revision}, err
	}},
	{kvtest.Request{Method: kvtest.Txn, Ops: []kvstore.Op{{Key: "one"}, {Key: "two"}}}, func(s kvstore.Store) (any, error) {
		pairs, err := s.Txn(context.Background(), kvstore.Op{Key: "one"}, kvstore.Op{Key: "two"})
		return pairs, err
	}},
	{kvtest.Request{Method: kvtest.Hold, Key: "hold", Ops: []kvstore.Op{{Key: "guard"}}}, func(s kvstore.Store) (any, error) {
		held := 0
		err := s.Hold(context.Background(), "name", "hold", []byte("value"), time.Hour, func() { held++ }, kvstore.Op{Key: "guard"})
		return held, err
	}},
}

// Every request goes through the hook with all that belongs to it, there and back.
func TestAround(t *testing.T) {
	for _, r := range requests {
		plain, below := &teller{}, &teller{}
		var seen kvtest.Request
		hooked := kvtest.Around(below, func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
			seen = r
			return do(context.WithValue(ctx, inside{}, true))
		})
		want, wantErr := r.make(plain)
		got, err := r.make(hooked)
		if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, wantErr) {
			t.Errorf("%s gives %v, and (-want +got):\n%s", r.Method, err, diff)
		}
		if diff := cmp.Diff(r.Request, seen); diff != "" {
			t.Errorf("%s: the hook sees (-want +got):\n%s", r.Method, diff)
		}
		if below.called != plain.called || below.inside != true {
			t.Errorf("%s arrives as %q, want %q", r.Method, below.called, plain.called)
		}
	}
	s := &teller{}
	if err := kvtest.Around(s, nil).Close(); !errors.Is(err, errMine) || s.called != "Close" {
		t.Errorf("close arrives as %q and gives %v", s.called, err)
	}
}

// A hook may answer itself.
func TestAroundAnswers(t *testing.T) {
	var answer kvtest.Answer
	s := kvtest.Around(nil, func(context.Context, kvtest.Request, kvtest.Do) (kvtest.Answer, error) { return answer, nil })
	if p, err := s.Get(t.Context(), "k"); !errors.Is(err, kvstore.ErrNotFound) {
		t.Errorf("no pair is %v, %v", p, err)
	}
	answer = kvtest.Answer{Pairs: pairs, Revision: 9}
	if p, err := s.Get(t.Context(), "k"); err != nil || p.Revision != pairs[0].Revision {
		t.Errorf("Get gives %v, %v", p, err)
	}
	if got, revision, err := s.Wait(t.Context(), "k", 1); err != nil || len(got) != 1 || revision != 9 {
		t.Errorf("Wait gives %v, %d, %v", got, revision, err)
	}
}

// A request that is refused does not arrive.
func TestBefore(t *testing.T) {
	for _, r := range requests {
		below := &teller{}
		var refuse error
		s := kvtest.Before(below, func(context.Context, kvtest.Request) error { return refuse })
		if _, _ = r.make(s); below.called == "" {
			t.Errorf("%s does not arrive", r.Method)
		}
		below.called, refuse = "", kvstore.ErrDenied
		if _, err := r.make(s); !errors.Is(err, kvstore.ErrDenied) || below.called != "" {
			t.Errorf("%s, which is refused, arrives as %q and gives %v", r.Method, below.called, err)
		}
	}
}
