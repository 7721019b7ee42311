package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"
)

// # Containers that Docker gave up
//
// Docker starts a container with a restart policy when it begins itself, and
// when the container has ended. If that start fails for its network, because
// weft was away for longer than the 15 s that Docker waits or had no address to
// give, Docker does not try again, whatever the policy says. So weft does, until
// the start succeeds or fails for a reason that is not weft's.

// stalled is a container that Docker should run, and does not because of weft.
type stalled struct {
	id, name, why string
}

// stalled gives the containers of the driver's networks that have a restart
// policy and whose last start failed because of the driver.
func (d *docker) stalled(ctx context.Context, driver string) ([]stalled, error) {
	networks, err := d.networks(ctx)
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{} // by name and by id, as whoever made the container wrote
	for _, n := range networks {
		if n.Driver == driverName(driver) {
			ours[n.Name], ours[n.ID] = true, true
		}
	}
	if len(ours) == 0 {
		return nil, nil
	}
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	list, err := d.api.ContainerList(reading, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("status", container.StateExited)),
	})
	if err != nil {
		return nil, fmt.Errorf("list Docker's containers: %w", err)
	}
	var out []stalled
	for _, c := range list {
		if c.NetworkSettings == nil {
			continue
		}
		for name, n := range c.NetworkSettings.Networks {
			if !ours[name] && (n == nil || !ours[n.NetworkID]) {
				continue
			}
			found, err := d.container(ctx, c.ID)
			if err == nil && wanted(found) && blames(found.State.Error, driver) {
				out = append(out, stalled{c.ID, strings.TrimPrefix(found.Name, "/"), found.State.Error})
			}
			break // one that is gone meanwhile is nobody's concern
		}
	}
	return out, nil
}

// wanted says whether the container has ended, and should not have.
func wanted(c container.InspectResponse) bool {
	return c.State.Status == container.StateExited && c.HostConfig != nil && !c.HostConfig.RestartPolicy.IsNone()
}

// blames says whether the error of a container's start is that the driver was
// not there, or what the driver answered.
func blames(text, driver string) bool {
	return slices.ContainsFunc([]string{
		fmt.Sprintf("plugin %q not found", driver),
		fmt.Sprintf("%%2F%s.sock/", driver), // there is a socket, and nobody listens
		"NetworkDriver.", "IpamDriver.",
	}, func(part string) bool { return strings.Contains(text, part) })
}

// start starts the container.
func (d *docker) start(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return d.api.ContainerStart(ctx, id, container.StartOptions{})
}

// startTimeout is long: Docker starts containers one by one where they meet,
// and giving up does not stop it.
const startTimeout = 2 * time.Minute

// restart starts what Docker has given up, until ctx ends or Docker's API fails.
func (s *session) restart(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = time.Second, look
	told := map[string]bool{}
	for {
		list, err := s.docker.stalled(ctx, s.cfg.Driver)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		wait := look
		if s.startAll(ctx, list, told) {
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
func (s *session) startAll(ctx context.Context, list []stalled, told map[string]bool) (failed bool) {
	var mu sync.Mutex // guards told and failed
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, c := range list {
		g.Go(func() error {
			err := s.docker.start(ctx, c.id)
			mu.Lock()
			defer mu.Unlock()
			log := s.cfg.Log.WithFields(map[string]any{"container": c.name, "why": c.why})
			switch {
			case ctx.Err() != nil:
			case err == nil:
				delete(told, c.id)
				log.Warn("A container with a restart policy had been given up by Docker, since weft could not serve it; it was started.")
			case !told[c.id]:
				told[c.id] = true
				log.WithError(err).Warn("A container with a restart policy was given up by Docker, since weft could not serve it, and could not be started yet; this is tried again.")
				failed = true
			default:
				failed = true
			}
			return nil
		})
	}
	_ = g.Wait() // there are no errors but those that are logged
	return failed
}
