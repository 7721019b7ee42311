package kvstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Patience is how long a user who waits in front of Docker is kept waiting for
// the store, by all requests of one call together. A refusal is to be on the
// screen within 3 s, of which `docker run` takes up to 0.4 s for itself.
const Patience = 2500 * time.Millisecond

// LateWrites is how long after its client has given up a write may still be carried out,
// over what was written since. Consul holds requests for 7 s while there is no leader, a
// leader those that it cannot commit for 30 s, and what a cut has kept from Consul
// arrives seconds after its end.
const LateWrites = 45 * time.Second

// errLate is why what Patiently does has ended.
var errLate = fmt.Errorf("%w: what this needs of it was not answered within %v, try again when it answers", ErrUnavailable, Patience)

// Patiently does what a user waits for, with a ctx that ends after Patience. What
// fails by that end is an ErrUnavailable that says so. It is do that ends at
// ctx's end, or does not.
func Patiently(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Patience, errLate)
	defer cancel()
	err := do(ctx)
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(context.Cause(ctx), errLate) {
		return fmt.Errorf("%w (%w)", err, errLate)
	}
	return err
}
