package chaos

import (
	"context"
	"time"

	"github.com/weft-net/weft/test/whole"
)

// watch looks for duplicates until ctx ends.
func (r *runner) watch(ctx context.Context) {
	told := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		for _, d := range whole.Duplicates(r.cluster.Sandboxes()) {
			if !told[d] {
				told[d] = true
				r.history.fail(time.Now(), "duplicate address: %s", d)
			}
		}
	}
}
