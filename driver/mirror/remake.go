package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// identify is the function of that name, which asks Docker for its containers
// only if that can help.
func (s *session) identify(ctx context.Context, view clusterView, networks []dockerNetwork) (map[string]overlay.Remains, error) {
	if len(view.Remains) == 0 {
		return nil, nil
	}
	endpoints, err := s.maker.running(ctx)
	if err != nil {
		return nil, err
	}
	return identify(networks, endpoints, view.Remains), nil
}

// identify finds out which of Docker's networks is which in the kernel: by the id
// that a person has chosen, by a container's link, or by the VNI that a mirrored
// network has among its options. It gives what the kernel has by Docker's id.
func identify(networks []dockerNetwork, endpoints []found, remains []overlay.Remains) map[string]overlay.Remains {
	out := map[string]overlay.Remains{}
	for _, n := range networks {
		i := slices.IndexFunc(remains, func(k overlay.Remains) bool {
			return n.Options[idOption] == k.ID ||
				k.VNI != 0 && n.Options[vniOption] == strconv.FormatUint(uint64(k.VNI), 10) ||
				slices.ContainsFunc(endpoints, func(e found) bool {
					return e.network == n.ID && slices.Contains(k.Ports, overlay.PortLink(e.id))
				})
		})
		if i >= 0 {
			out[n.ID] = remains[i]
		}
	}
	return out
}

// remake records a network in the cluster of which this host's Docker and kernel
// alone know.
func (s *session) remake(ctx context.Context, a action) error {
	n, err := s.cfg.Options(a.docker.Options)
	if err != nil {
		return fmt.Errorf("Docker's network %q (%.12s) uses weft, but weft has no record of it and cannot make one: %w; remove it with `docker network rm %s`", a.docker.Name, a.docker.ID, err, a.docker.Name)
	}
	delete(n.Options, vniOption)
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
