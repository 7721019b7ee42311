package ipam

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

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
