package mirror

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/docker/docker/api/types/network"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// cluster is what the registries of all hosts know in common, and at once.
type cluster struct {
	mu       sync.Mutex
	networks map[string]overlay.Network
	hosts    []*records
	next     int
}

func newCluster() *cluster { return &cluster{networks: map[string]overlay.Network{}} }

// records is a model of one host's registry, and of weft's driver above it.
type records struct {
	*cluster
	host      string
	docker    map[string]string // guarded by cluster.mu, as what follows
	endpoints map[string]overlay.Endpoint
	pending   map[string]bool // removals asked here
	subs      map[chan struct{}]bool
	lost      bool // see Rebuilding
	away      bool // the store
	remains   []overlay.Remains
	deaf      error // Name's answer
	broken    error // createNetwork's, after it has made its record for a moment
}

func (c *cluster) add(host string) *records {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &records{
		cluster: c, host: host, docker: map[string]string{}, endpoints: map[string]overlay.Endpoint{},
		pending: map[string]bool{}, subs: map[chan struct{}]bool{},
	}
	c.hosts = append(c.hosts, r)
	return r
}

// change runs f under the lock and tells every host.
func (c *cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	for _, h := range c.hosts {
		for ch := range h.subs {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}

func (r *records) CreateNetwork(dockerID string, req network.CreateRequest) (err error) {
	defer func() {
		r.change(func() {
			if r.broken != nil {
				delete(r.docker, dockerID)
				err = r.broken
			}
		})
	}()
	r.change(func() {
		id := req.Options[option.ID]
		if id == "" {
			r.next++
			id = fmt.Sprintf("w%d", r.next)
			r.networks[id] = overlay.Network{ID: id, Host: r.host, Options: req.Options, Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/16")}}}
		}
		for _, other := range r.docker {
			if other == id {
				err = fmt.Errorf("network %s is taken on this host", id)
				return
			}
		}
		r.docker[dockerID] = id
	})
	return err
}

// deleteNetwork is the driver's: the network goes everywhere unless another
// host has an endpoint in it.
func (r *records) DeleteNetwork(dockerID string) {
	r.change(func() {
		id, ok := r.docker[dockerID]
		delete(r.docker, dockerID)
		for _, h := range r.hosts {
			for _, e := range h.endpoints {
				if e.Network == id {
					return
				}
			}
		}
		if n := r.networks[id]; ok && n.Deleted.IsZero() {
			n.Deleted = time.Now()
			r.networks[id] = n
		}
	})
}

func (r *records) Networks() []overlay.Network {
	return r.those(func(n overlay.Network) bool { return n.Deleted.IsZero() && !r.pending[n.ID] })
}

func (r *records) those(wanted func(overlay.Network) bool) []overlay.Network {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.thoseLocked(wanted)
}

func (r *records) thoseLocked(wanted func(overlay.Network) bool) []overlay.Network {
	var out []overlay.Network
	for i := range r.next {
		if n := r.networks[fmt.Sprintf("w%d", i+1)]; n.ID != "" && wanted(n) {
			out = append(out, n)
		}
	}
	return out
}

func (r *records) DockerIDs() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.docker)
}

func (r *records) OfDocker(dockerID string) (overlay.Network, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.networks[r.docker[dockerID]]
	return n, ok
}

func (r *records) Inventory() registry.Inventory {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := registry.Inventory{
		Live:   r.thoseLocked(func(n overlay.Network) bool { return n.Deleted.IsZero() && !r.pending[n.ID] }),
		Gone:   r.thoseLocked(func(n overlay.Network) bool { return !n.Deleted.IsZero() }),
		Docker: map[string]registry.InDocker{}, Lost: r.lost, Remains: r.remains,
	}
	for docker, id := range r.docker {
		n := r.networks[id]
		n.ID = id
		v.Docker[docker] = registry.InDocker{Network: n}
	}
	return v
}

func (r *records) Snapshot() overlay.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s overlay.Snapshot
	for _, e := range r.endpoints {
		s.Local = append(s.Local, e)
	}
	return s
}

func (r *records) Changes() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subs[ch] = true
	return ch, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.subs, ch)
	}
}

func (r *records) Mirroring(string) (done func()) { return func() {} }

func (r *records) Name(_ context.Context, id string, naming registry.Naming) error {
	var err error
	r.change(func() {
		if err = r.deaf; err != nil {
			return
		}
		for _, n := range r.networks {
			if n.Name == naming.Name && n.Deleted.IsZero() && n.ID != id {
				err = fmt.Errorf("publish: %w", &registry.NameTakenError{Name: naming.Name, By: n.ID})
				return
			}
		}
		n := r.networks[id]
		n.Name, n.Labels, n.Attachable, n.IPv6 = naming.Name, naming.Labels, naming.Attachable, naming.IPv6
		r.networks[id] = n
	})
	return err
}

func (r *records) Attach(_ context.Context, dockerID, id string) error {
	r.change(func() { r.docker[dockerID] = id })
	return nil
}

func (r *records) Detach(_ context.Context, dockerID string) error {
	r.change(func() { delete(r.docker, dockerID) })
	return nil
}

func (r *records) NameEndpoint(_ context.Context, id string, names []string) error {
	r.change(func() {
		if e, ok := r.endpoints[id]; ok {
			e.Name, e.Names = names[0], names
			r.endpoints[id] = e
		}
	})
	return nil
}

func (r *records) DeleteEndpoint(_ context.Context, id string) error {
	r.change(func() { delete(r.endpoints, id) })
	return nil
}

func (r *records) Rebuilding() (lost, ready bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost, !r.away
}

func (r *records) Remake(_ context.Context, n overlay.Network) error {
	r.change(func() {
		r.next++
		if n.ID == "" {
			n.ID = fmt.Sprintf("w%d", r.next)
		}
		r.networks[n.ID] = n
	})
	return nil
}

func (r *records) Rebuilt(context.Context) error {
	r.change(func() { r.lost = false })
	return nil
}

func (r *records) Adopt(_ context.Context, e overlay.Endpoint) error {
	e.Phase = overlay.Joined
	r.change(func() { r.endpoints[e.ID] = e })
	return nil
}

// join makes an endpoint.
func (r *records) join(dockerID, id string, created time.Time) {
	r.change(func() {
		r.endpoints[id] = overlay.Endpoint{ID: id, Network: r.docker[dockerID], Phase: overlay.Joined, Created: created}
	})
}

func (r *records) endpoint(id string) (overlay.Endpoint, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.endpoints[id]
	return e, ok
}
