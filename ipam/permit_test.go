package ipam

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// Who has no permit for long is told of that, and not of the attempt that the end
// of the wait has cut off.
func TestARefusalNamesThePermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{epoch: 1, checks: []kvstore.Op{{Kind: kvstore.Check, Key: "net/.epoch", Revision: 9}}}
		h := g.host(t, "h1", newMemory())
		tries := 0
		err := kvstore.Patiently(t.Context(), func(ctx context.Context) error {
			return h.allowed(ctx, func(permit) error {
				if tries++; tries == 1 {
					return &kvstore.ConflictError{Key: "net/.epoch"}
				}
				<-ctx.Done()
				return context.Cause(ctx)
			})
		})
		if err == nil || !strings.Contains(err.Error(), "the store has lost data") || errors.Is(err, kvstore.ErrUnavailable) {
			t.Errorf("after %d tries: %v", tries, err)
		}
	})
}

// Who may not claim hears when it may, and does not keep asking until then.
func TestAPermitIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{epoch: 1, err: errors.New("the store has lost data")}
		h := g.host(t, "h1", newMemory())
		g.asked = 0
		const wait = 1234 * time.Millisecond
		time.AfterFunc(wait, func() { g.set(nil) })
		began := time.Now()
		err := kvstore.Patiently(t.Context(), func(ctx context.Context) error {
			return h.allowed(ctx, func(permit) error { return nil })
		})
		if took := time.Since(began); err != nil || took != wait {
			t.Errorf("it may after %v, and got its permit after %v (%v)", wait, took, err)
		}
		if most := int(wait/askAgain) + 2; g.asked > most {
			t.Errorf("it asked %d times, more than %d", g.asked, most)
		}
		if len(g.heard) > 0 {
			t.Error("it still listens")
		}
	})
}
