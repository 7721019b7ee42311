package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// leading is the server that the others, or it alone, take for their leader.
func (r *runner) leading(ctx context.Context) (*lab.Consul, error) {
	votes := map[string]int{}
	for _, c := range r.Lab.Consuls() {
		if addr, err := c.Leader(ctx); err == nil {
			votes[addr]++
		}
	}
	for _, c := range r.Lab.Consuls() {
		if 2*votes[c.Addr().String()+":8300"] > len(r.Lab.Consuls()) {
			return c, nil
		}
	}
	return nil, errors.New("Consul has no leader")
}

// awaitLeader waits until there is a leader; elections take a second or two.
func (r *runner) awaitLeader(ctx context.Context) (*lab.Consul, error) {
	for end := time.Now().Add(30 * time.Second); ; {
		c, err := r.leading(ctx)
		if err == nil || time.Now().After(end) || ctx.Err() != nil {
			return c, err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// consulFault does something to Consul, and gives what undoes it.
func (r *runner) consulFault(ctx context.Context, o op) (undo func() error, err error) {
	c, err := r.awaitLeader(ctx)
	if err != nil {
		return nil, err
	}
	nothing := func() error { return nil }
	switch o.kind {
	case killConsul:
		return func() error { return start(ctx, c) }, c.Kill(ctx)
	case restartConsul:
		return func() error { return start(ctx, c) }, c.Stop(ctx)
	case freezeConsul:
		return func() error { return c.Signal(unix.SIGCONT) }, c.Signal(unix.SIGSTOP)
	case wipeConsul:
		if o.host == leader {
			return func() error { return start(ctx, c) }, c.Wipe(ctx)
		}
		for _, c := range r.Lab.Consuls() {
			err = errors.Join(err, c.Wipe(ctx))
		}
		return func() error { return r.startConsuls(ctx) }, err
	case rewindConsul:
		old, err := c.Request(ctx, http.MethodGet, "/v1/snapshot", nil)
		if err != nil {
			return nothing, fmt.Errorf("take a snapshot of Consul: %w", err)
		}
		return func() error { return r.rewind(ctx, old) }, nil
	case cutLeader:
		var undos []func() error
		for _, other := range r.Lab.Consuls() {
			if other != c {
				err = errors.Join(err, r.cuts.add(ctx, c.Name(), other.Name()))
				undos = append(undos, func() error { return r.cuts.remove(ctx, c.Name(), other.Name()) })
			}
		}
		return func() error {
			var err error
			for _, undo := range undos {
				err = errors.Join(err, undo())
			}
			return err
		}, err
	default:
		return nothing, fmt.Errorf("%q is no fault of Consul", o.kind)
	}
}

// startConsuls starts the servers that do not run.
func (r *runner) startConsuls(ctx context.Context) error {
	var g errgroup.Group
	for _, c := range r.Lab.Consuls() {
		g.Go(func() error { return start(ctx, c) })
	}
	return g.Wait()
}

// start starts a server, and again if it dies of that, as an init system would:
// it may, of a nil pointer in serf, if a packet comes too early.
func start(ctx context.Context, c *lab.Consul) error {
	err := c.Start(ctx)
	for range 2 {
		if err != nil && ctx.Err() == nil {
			err = c.Start(ctx)
		}
	}
	return err
}

// rewind has Consul forget what was written since the snapshot.
func (r *runner) rewind(ctx context.Context, snapshot []byte) error {
	c, err := r.awaitLeader(ctx)
	if err == nil {
		_, err = c.Request(ctx, http.MethodPut, "/v1/snapshot", snapshot)
	}
	if err != nil {
		return fmt.Errorf("restore a snapshot of Consul: %w", err)
	}
	return nil
}
