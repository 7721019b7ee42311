package kvstore

import (
	"context"
	"errors"
	"fmt"
)

// ErrUnwritable is in Record's errors.
var ErrUnwritable = errors.New("this host's state cannot be written (make room on its disk, or make it writable)")

// Record writes to a host's own state, of which nobody else is a writer: all ops or
// none, if one transaction has room for them.
func Record(ctx context.Context, state Store, ops ...Op) error {
	for batch := range Batches(ops) {
		if _, err := state.Txn(ctx, batch...); err != nil {
			return fmt.Errorf("%w: %w", ErrUnwritable, err)
		}
	}
	return nil
}
