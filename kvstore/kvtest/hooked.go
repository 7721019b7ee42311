package kvtest

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// Method is a method of a store that is a request to it, by its name.
type Method string

// The methods: all but Close.
const (
	Get  Method = "Get"
	List Method = "List"
	Wait Method = "Wait"
	Txn  Method = "Txn"
	Hold Method = "Hold"
)

// Request is one call of a store's method.
type Request struct {
	Method Method
	Key    string       // of Get and Hold; the prefix of List and Wait
	Ops    []kvstore.Op // of Txn; the guards of Hold
}

// Answer is what a request gives beside its error.
type Answer struct {
	Pairs    []kvstore.Pair // one for Get, where none is ErrNotFound; none for Hold
	Revision uint64         // for List and Wait
}

// Do carries a request out, with all its arguments. It may be called often, late or
// not at all.
type Do func(context.Context) (Answer, error)

// Around is the store with each request inside f, which carries it out with do and
// gives the answer.
func Around(store kvstore.Store, f func(ctx context.Context, r Request, do Do) (Answer, error)) kvstore.Store {
	return &hooked{store, f}
}

// Before is the store with f before each request. If that fails, the request fails with
// its error and is not carried out.
func Before(store kvstore.Store, f func(ctx context.Context, r Request) error) kvstore.Store {
	return Around(store, func(ctx context.Context, r Request, do Do) (Answer, error) {
		if err := f(ctx, r); err != nil {
			return Answer{}, err
		}
		return do(ctx)
	})
}

// hooked is a store each request of which goes through around.
type hooked struct {
	kvstore.Store
	around func(context.Context, Request, Do) (Answer, error)
}

// Get implements kvstore.Store.
func (h *hooked) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	a, err := h.around(ctx, Request{Method: Get, Key: key}, func(ctx context.Context) (Answer, error) {
		p, err := h.Store.Get(ctx, key)
		return Answer{Pairs: []kvstore.Pair{p}}, err
	})
	if err != nil {
		return kvstore.Pair{}, err
	}
	if len(a.Pairs) == 0 {
		return kvstore.Pair{}, fmt.Errorf("get %s: %w", key, kvstore.ErrNotFound)
	}
	return a.Pairs[0], nil
}

// List implements kvstore.Store.
func (h *hooked) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	a, err := h.around(ctx, Request{Method: List, Key: prefix}, func(ctx context.Context) (Answer, error) {
		pairs, revision, err := h.Store.List(ctx, prefix)
		return Answer{pairs, revision}, err
	})
	return a.Pairs, a.Revision, err
}

// Wait implements kvstore.Store.
func (h *hooked) Wait(ctx context.Context, prefix string, revision uint64) ([]kvstore.Pair, uint64, error) {
	a, err := h.around(ctx, Request{Method: Wait, Key: prefix}, func(ctx context.Context) (Answer, error) {
		pairs, next, err := h.Store.Wait(ctx, prefix, revision)
		return Answer{pairs, next}, err
	})
	return a.Pairs, a.Revision, err
}

// Txn implements kvstore.Store.
func (h *hooked) Txn(ctx context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	a, err := h.around(ctx, Request{Method: Txn, Ops: ops}, func(ctx context.Context) (Answer, error) {
		pairs, err := h.Store.Txn(ctx, ops...)
		return Answer{Pairs: pairs}, err
	})
	return a.Pairs, err
}

// Hold implements kvstore.Store.
func (h *hooked) Hold(ctx context.Context, name, key string, value []byte, ttl time.Duration, held func(), guards ...kvstore.Op) error {
	_, err := h.around(ctx, Request{Method: Hold, Key: key, Ops: guards}, func(ctx context.Context) (Answer, error) {
		return Answer{}, h.Store.Hold(ctx, name, key, value, ttl, held, guards...)
	})
	return err
}
