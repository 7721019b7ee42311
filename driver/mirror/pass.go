package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/mirror/match"
	"github.com/weft-net/weft/driver/registry"
)

// networks makes passes until ctx ends or Docker's API fails.
func (s *session) networks(ctx context.Context) error {
	changes, stop := s.cfg.Registry.Changes()
	defer stop()
	for {
		view := s.view()
		if err := s.pass(ctx, view); err != nil {
			return err
		}
		timer := time.NewTimer(s.ledger.wake(time.Now(), engine.LookEvery))
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-changes:
				// Most changes are about endpoints: Docker is not asked then.
				waiting = view.Same(s.view())
			case <-s.asked:
				waiting = false
			case <-timer.C:
				waiting = false
			}
		}
		timer.Stop()
	}
}

// view is what the registry knows now.
func (s *session) view() match.View { return match.View{Inventory: s.cfg.Registry.Inventory()} }

// pass compares once and acts. It fails only with Docker's list.
func (s *session) pass(ctx context.Context, view match.View) error {
	s.ledger.hurry(time.Now(), s.news.Swap(false))
	docker, err := s.maker.Networks(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.up()
	if s.cfg.Keep != nil {
		if err := s.cfg.Keep(ctx, poolsOf(docker, s.cfg.IPAM)); err != nil {
			s.cfg.Log.WithError(err).Warn("Which address pools Docker's networks have could not be recorded; it is tried again.")
		}
	}
	if view.Kernel, err = s.identify(ctx, view, docker); err != nil {
		return err
	}
	due := s.ledger.due(decide(s.cfg.Driver, docker, view), time.Now())
	results := make([]error, len(due))
	var g errgroup.Group
	g.SetLimit(engine.AtOnce)
	for i, a := range due {
		g.Go(func() error {
			results[i] = s.do(ctx, a)
			return nil
		})
	}
	_ = g.Wait() // the results are in results
	if ctx.Err() != nil {
		return nil
	}
	for i, a := range due {
		s.ledger.done(a, results[i], time.Now())
	}
	s.setConflicts(s.ledger.conflicts(time.Now()))
	return nil
}

// poolsOf gives the subnets of all networks, of any driver, whose addresses
// come from the IPAM driver.
func poolsOf(docker []engine.Network, ipam string) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range docker {
		if n.IPAM == engine.DriverName(ipam) {
			out = append(out, match.Prefixes(n)...)
		}
	}
	return out
}

// do carries out one action.
func (s *session) do(ctx context.Context, a action) error {
	log := s.cfg.Log.WithFields(map[string]any{"network": a.subject(), "id": a.network.ID, "docker": a.docker.ID})
	switch a.kind {
	case doName:
		return s.name(ctx, a)
	case doCreate:
		began := time.Now()
		defer s.cfg.Registry.Mirroring(a.network.ID)()
		made, err := s.maker.Create(ctx, s.cfg.Driver, s.cfg.IPAM, a.network)
		if err != nil {
			return fmt.Errorf("network %q of the cluster (created on host %s) could not be created in this host's Docker, which is tried again: %w", a.network.Name, a.network.Host, err)
		}
		log.WithFields(map[string]any{"docker": made, "took": time.Since(began).Round(time.Millisecond).String()}).Info("A network of the cluster was created in this host's Docker.")
	case doRemove:
		if err := s.remove(ctx, a); err != nil {
			return err
		}
		log.WithField("why", a.why).Info("A network was removed from this host's Docker.")
	case doDetach:
		if err := s.cfg.Registry.Detach(ctx, a.docker.ID); err != nil {
			return fmt.Errorf("forget Docker's lost network %q: %w", a.subject(), err)
		}
		if a.network.Name == "" {
			log.Warn("A network that Docker has not made to its end is taken back.")
			return nil
		}
		log.Warn("This host's Docker has lost a network, or it was removed while weft was away; it stays in the cluster and is created here again.")
	case doAttach:
		if err := s.cfg.Registry.Attach(ctx, a.docker.ID, a.network.ID); err != nil {
			return fmt.Errorf("take over Docker's network %q: %w", a.docker.Name, err)
		}
		log.Warn("A network of this host's Docker was unknown here and is taken over as the cluster's.")
		if k := a.kernel.ID; k != "" && k != a.network.ID {
			log.WithField("was", k).
				Warn("The network was recorded again under another id than this host's kernel has it by: its containers here are without it for up to 20 s, until they are connected anew.")
		}
	case doRemake:
		return s.remake(ctx, a)
	case doReport:
	}
	return nil
}

// name publishes the network's name. If another network of the cluster has it,
// this host has lost the race, and makes room for the other.
func (s *session) name(ctx context.Context, a action) error {
	log := s.cfg.Log.WithFields(map[string]any{"network": a.docker.Name, "id": a.network.ID, "docker": a.docker.ID})
	err := s.cfg.Registry.Name(ctx, a.network.ID, registry.Naming{
		Name: a.docker.Name, Labels: a.docker.Labels, Attachable: a.docker.Attachable, IPv6: a.docker.IPv6,
		Swarm: a.docker.Swarm,
	})
	var taken *registry.NameTakenError
	switch {
	case err == nil:
		log.Info("Network published to the cluster.")
		return nil
	case errors.Is(err, registry.ErrFrozen):
		return soonError{fmt.Errorf("network %q is not published to the other hosts yet: %w", a.docker.Name, err)}
	case !errors.As(err, &taken):
		return fmt.Errorf("network %q could not be published to the other hosts, which is tried again: %w", a.docker.Name, err)
	}
	winner, ok := s.view().Named(taken.By)
	if !ok {
		// That network is being removed, or not known here yet. Both end soon.
		return soonError{fmt.Errorf("network %q is not published to the other hosts yet, since network id %s still has its name there: %w", a.docker.Name, taken.By, err)}
	}
	a.why = fmt.Sprintf("network id %s, created on host %s, had the name first", winner.ID, winner.Host)
	if a.docker.Swarm {
		return fmt.Errorf("network %q of Swarm has no name in the cluster, since %s: rename one of the two", a.docker.Name, a.why)
	}
	if wishes := match.Unmet(a.network, a.docker, winner); len(wishes) > 0 {
		return graveError{fmt.Errorf("network %q of this host's Docker (%.12s) is not the cluster's of that name, created on host %s, which was first and differs in its %s; it works, but on this host alone: remove it with `docker network rm %.12[2]s` to have the cluster's alone, and create it again under another name if it is needed",
			a.docker.Name, a.docker.ID, winner.Host, strings.Join(wishes, ", "))}
	}
	if err := s.remove(ctx, a); err != nil {
		return err
	}
	log.WithFields(map[string]any{"winner": winner.ID, "host": winner.Host, "was": a.network.Prefixes(), "subnets": winner.Prefixes()}).
		Warn("Two networks of this name were created at once; the winner was first and has all that was asked of this host's, and replaces it.")
	return nil
}

// remove takes a network of weft's out of Docker, if no container uses it.
func (s *session) remove(ctx context.Context, a action) error {
	switch err := s.maker.Remove(ctx, a.docker.ID); {
	case errdefs.IsPermissionDenied(err):
		// Docker's count may be wrong, https://github.com/moby/moby/issues/43286.
		if found, there, err := s.maker.Endpoints(ctx, a.docker.ID); err == nil && there && len(found) == 0 {
			return fmt.Errorf("network %q (%.12s) of this host's Docker is in the way, since %s, and Docker says that containers use it but shows none, so it has miscounted: restart it (systemctl restart docker), and it counts anew", a.docker.Name, a.docker.ID, a.why)
		}
		return fmt.Errorf("network %q (%.12s) of this host's Docker is in the way, since %s, and containers use it: disconnect or remove them", a.docker.Name, a.docker.ID, a.why)
	case err != nil:
		return fmt.Errorf("network %q (%.12s) could not be removed from this host's Docker, which is tried again: %w", a.docker.Name, a.docker.ID, err)
	}
	return nil
}

// graveError contradicts what a person was told.
type graveError struct{ error }

// Unwrap gives the cause.
func (e graveError) Unwrap() error { return e.error }

// soonError will most likely be over in a moment, by itself.
type soonError struct{ error }

// Unwrap gives the cause.
func (e soonError) Unwrap() error { return e.error }
