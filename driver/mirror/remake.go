package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/mirror/match"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// identify finds out what the kernel has of Docker's networks. It asks Docker for
// its containers only if that can help.
func (s *session) identify(ctx context.Context, view match.View, networks []engine.Network) (map[string]overlay.Remains, error) {
	if len(view.Remains) == 0 {
		return nil, nil
	}
	endpoints, err := s.maker.Running(ctx)
	if err != nil {
		return nil, err
	}
	return match.Identify(networks, endpoints, view.Remains), nil
}

// remake records in the cluster a network that only this host's Docker and kernel
// know.
func (s *session) remake(ctx context.Context, a action) error {
	n, err := s.cfg.Options(a.docker.Options)
	if err != nil {
		return fmt.Errorf("Docker's network %q (%.12s) uses weft, but weft has no record of it and cannot make one: %w; remove it with `docker network rm %s`", a.docker.Name, a.docker.ID, err, a.docker.Name)
	}
	delete(n.Options, option.VNIList)
	k := a.kernel
	n.ID, n.VNI = cmp.Or(k.ID, n.ID), cmp.Or(k.VNI, n.VNI)
	n.Name, n.Labels, n.Subnets = a.docker.Name, a.docker.Labels, a.docker.Subnets
	n.Internal, n.Attachable, n.IPv6, n.Swarm = a.docker.Internal, a.docker.Attachable, a.docker.IPv6, a.docker.Swarm
	n.Created = a.docker.Created.UTC().Truncate(time.Millisecond)
	err = s.cfg.Registry.Remake(ctx, n)
	if errors.Is(err, registry.ErrFrozen) {
		return soonError{err}
	}
	return err
}
