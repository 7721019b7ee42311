package kvstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// Whatever a store makes of a context that ends, who waits for it is told in
// words, in time, that it does not answer.
func TestPatience(t *testing.T) {
	forErr := func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("get x: %w", ctx.Err()) }
	forCause := func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("get x: %w", context.Cause(ctx)) }
	for what, do := range map[string]func(context.Context) error{"its error": forErr, "its cause": forCause} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			err := kvstore.Patiently(t.Context(), do)
			if took := time.Since(began); took != kvstore.Patience {
				t.Errorf("%s: it took %v", what, took)
			}
			if !errors.Is(err, kvstore.ErrUnavailable) || strings.Count(fmt.Sprint(err), "was not answered within 2.5s, try again when it answers") != 1 {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
}

// What ends or fails for another reason is not the store's.
func TestPatienceKeepsOtherReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := kvstore.Patiently(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kvstore.ErrUnavailable) {
			t.Errorf("the caller's end: %v", err)
		}
		for _, want := range []error{nil, kvstore.ErrConflict, context.DeadlineExceeded} {
			if err := kvstore.Patiently(t.Context(), func(context.Context) error { return want }); !errors.Is(err, want) || errors.Is(err, kvstore.ErrUnavailable) {
				t.Errorf("%v became %v", want, err)
			}
		}
	})
}
