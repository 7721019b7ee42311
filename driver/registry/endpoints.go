package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// CreateEndpoint records a new endpoint of this host. The same again is fine.
func (r *Registry) CreateEndpoint(ctx context.Context, e overlay.Endpoint) error {
	defer r.change()()
	if old, ok := r.endpoints.Get(e.ID); ok {
		if old.Network == e.Network && old.MAC == e.MAC && slices.Equal(old.Addrs, e.Addrs) {
			return nil
		}
		return fmt.Errorf("endpoint %.12s is %w: it exists with other addresses", e.ID, ErrTaken)
	}
	if by := r.clashLocked(e); by != "" {
		return fmt.Errorf("MAC address %s is %w in this network by %s: leave --mac-address out, or choose another", e.MAC, ErrTaken, by)
	}
	ported, beyond := r.endpoints.Ported(e.Network)
	if err := overlay.CheckPort(r.self.Name, len(ported)+len(beyond)); err != nil {
		return err
	}
	e.Phase, e.Created = overlay.Created, time.Now() // not UTC: its age must not jump with the clock
	return r.putEndpointLocked(ctx, e)
}

// clashLocked says who else has e's MAC in its network, or "".
func (r *Registry) clashLocked(e overlay.Endpoint) string {
	if o, has := r.endpoints.WithMAC(e); has {
		return owner(o.ID, o.Name, r.self.Name)
	}
	for host, at := range r.peers.In(e.Network) {
		for _, o := range at.Endpoints {
			if o.MAC == e.MAC && !slices.Equal(o.Addrs, e.Addrs) {
				return owner(o.ID, o.Name, host)
			}
		}
	}
	return ""
}

// Join records that the endpoint is being put into the sandbox at path. It refuses an
// endpoint for which the bridge of its network has no port.
func (r *Registry) Join(ctx context.Context, id, sandbox string) (overlay.Endpoint, error) {
	if err := r.checkPort(id); err != nil {
		return overlay.Endpoint{}, err
	}
	return r.changeEndpoint(ctx, id, func(e *overlay.Endpoint) {
		r.arrivals.Expect(e.Network, e.ID)
		e.Phase, e.Sandbox = overlay.Joined, sandbox
	})
}

// checkPort fails for an endpoint that is beyond the ports of its network's bridge. Only
// records that CreateEndpoint has not made have such endpoints.
func (r *Registry) checkPort(id string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.endpoints.Get(id)
	if !ok {
		return nil // Join says it
	}
	ported, beyond := r.endpoints.Ported(e.Network)
	if !slices.ContainsFunc(beyond, func(other overlay.Endpoint) bool { return other.ID == id }) {
		return nil
	}
	return overlay.CheckPort(r.self.Name, len(ported)+len(beyond)-1)
}

// Leave notes that Docker is taking the endpoint out of its sandbox. It writes nothing:
// Docker deletes the endpoint next, and a process that starts in between finds it as it
// would if it had died just before the call.
func (r *Registry) Leave(id string) (overlay.Endpoint, error) {
	defer r.change()()
	e, ok := r.endpoints.Get(id)
	if !ok {
		return e, unknownEndpoint(id)
	}
	r.arrivals.Forget(e.ID)
	if e.Phase != overlay.Lost {
		e.Phase, e.Sandbox = overlay.Left, ""
	}
	r.endpoints.Put(e)
	r.changedLocally()
	return e, nil
}

func unknownEndpoint(id string) error {
	return fmt.Errorf("endpoint %.12s is %w to weft on this host", id, ErrUnknown)
}

// NameEndpoint records by what names the endpoint is found, which Docker's API
// told; the first is its container's. Names beyond the bounds of a record are left out.
// An unknown endpoint is fine.
func (r *Registry) NameEndpoint(ctx context.Context, id string, names []string) error {
	names, cut := record.BoundNames(names)
	e, ok := r.Endpoint(id)
	if !ok || len(names) == 0 || slices.Equal(e.Names, names) {
		return nil
	}
	if cut > 0 {
		r.log.WithFields(map[string]any{"container": names[0], "endpoint": id, "kept": len(names), "left_out": cut}).
			Warnf("A container has more or longer names than other hosts are told: %d, each of %d bytes at most; leave some of its --network-alias out.", record.MostNames, record.LongestName)
	}
	_, err := r.changeEndpoint(ctx, id, func(e *overlay.Endpoint) { e.Name, e.Names = names[0], slices.Clone(names) })
	if errors.Is(err, ErrUnknown) { // deleted just now
		return nil
	}
	return err
}

func (r *Registry) changeEndpoint(ctx context.Context, id string, change func(*overlay.Endpoint)) (overlay.Endpoint, error) {
	defer r.change()()
	e, ok := r.endpoints.Get(id)
	if !ok {
		return e, unknownEndpoint(id)
	}
	change(&e)
	return e, r.putEndpointLocked(ctx, e)
}

func (r *Registry) putEndpointLocked(ctx context.Context, e overlay.Endpoint) error {
	if err := r.putLocked(ctx, record.StateEndpoint+e.ID, e); err != nil {
		return err
	}
	r.endpoints.Put(e)
	r.changedLocally()
	return nil
}

// Lose takes this host's endpoint that has the address out of its network: the
// address is another host's by now. None is fine.
func (r *Registry) Lose(ctx context.Context, a netip.Addr, by string) error {
	r.mu.RLock()
	e, used := r.endpoints.With(a)
	r.mu.RUnlock()
	if !used {
		return nil
	}
	id := e.ID
	e, err := r.changeEndpoint(ctx, id, func(e *overlay.Endpoint) { e.Phase = overlay.Lost })
	if err != nil {
		return fmt.Errorf("take out endpoint %.12s, whose address %s host %s has: %w", id, a, by, err)
	}
	n, _ := r.networkRecord(e.Network)
	r.log.WithFields(map[string]any{"address": a, "by": by, "container": e.Name, "endpoint": id, "network": n.Name, "id": e.Network}).
		Error("An address of a container of this host is another host's: the container is taken out of the network. Restart it to get another address.")
	return nil
}

// DeleteEndpoint forgets an endpoint of this host. An unknown id is fine.
func (r *Registry) DeleteEndpoint(ctx context.Context, id string) error {
	defer r.change()()
	if _, ok := r.endpoints.Get(id); !ok {
		return nil
	}
	if err := r.commitLocked(ctx, record.Delete(record.StateEndpoint+id)); err != nil {
		return err
	}
	r.endpoints.Delete(id)
	r.arrivals.Forget(id)
	r.changedLocally()
	return nil
}

// Endpoint finds an endpoint of this host.
func (r *Registry) Endpoint(id string) (overlay.Endpoint, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.endpoints.Get(id)
}

func owner(id, name, host string) string {
	if name != "" {
		return fmt.Sprintf("container %q on host %s", name, host)
	}
	return fmt.Sprintf("endpoint %.12s on host %s", id, host)
}
