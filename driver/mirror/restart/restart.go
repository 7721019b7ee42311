// Package restart starts containers that Docker has given up because weft could
// not serve them.
//
// Docker starts a container with a restart policy when it begins itself, and when
// the container has ended. If that start fails for its network, because weft was
// away for longer than the 15 s that Docker waits or had no address to give, Docker
// does not try again, whatever the policy says. So weft does, until the start
// succeeds or fails for a reason that is not weft's.
package restart

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/mirror/engine"
)

// Run starts what Docker has given up of the driver's, until ctx ends or Docker's
// API fails.
func Run(ctx context.Context, d *engine.Client, driver string, log logrus.FieldLogger) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = time.Second, engine.LookEvery
	told := map[string]bool{}
	for {
		list, err := d.Stalled(ctx, driver)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		wait := engine.LookEvery
		if startAll(ctx, d, list, told, log) {
			wait = retry.NextBackOff()
		} else {
			retry.Reset()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// startAll starts the containers, and says whether one could not be.
func startAll(ctx context.Context, d *engine.Client, list []engine.Stalled, told map[string]bool, log logrus.FieldLogger) (failed bool) {
	var mu sync.Mutex // guards told and failed
	var g errgroup.Group
	g.SetLimit(engine.AtOnce)
	for _, c := range list {
		g.Go(func() error {
			err := d.StartContainer(ctx, c.ID)
			mu.Lock()
			defer mu.Unlock()
			log := log.WithFields(map[string]any{"container": c.Name, "why": c.Why})
			switch {
			case ctx.Err() != nil:
			case err == nil:
				delete(told, c.ID)
				log.Warn("A container with a restart policy had been given up by Docker, since weft could not serve it; it was started.")
			case !told[c.ID]:
				told[c.ID] = true
				log.WithError(err).Warn("A container with a restart policy was given up by Docker, since weft could not serve it, and could not be started yet; this is tried again.")
				failed = true
			default:
				failed = true
			}
			return nil
		})
	}
	_ = g.Wait() // errors are logged above
	return failed
}
