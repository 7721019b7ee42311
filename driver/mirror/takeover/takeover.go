// Package takeover records again the endpoints that Docker has and that this
// host's state has lost, and says when its records are complete.
package takeover

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/mirror/match"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

const (
	lookEvery = time.Second
	// unknownFor is how long an endpoint must have been unknown in every look before
	// it is taken over: Docker shows an endpoint for a moment before and after the
	// driver's calls too.
	unknownFor = 5 * time.Second
	// rebuildFor bounds how long an endpoint that cannot be taken over keeps this
	// host's records incomplete, once Docker and the store answer.
	rebuildFor = 60 * time.Second
)

// Registry is what weft knows, as far as it may have been lost.
type Registry interface {
	// Inventory is what is known of networks at one moment.
	Inventory() registry.Inventory
	// Snapshot's Local are this host's endpoints.
	Snapshot() overlay.Snapshot
	// Rebuilding says whether records of this host may be lost, and whether the
	// cluster's records are here to match Docker's networks with.
	Rebuilding() (lost, ready bool)
	// Adopt records an endpoint whose record was lost.
	Adopt(ctx context.Context, e overlay.Endpoint) error
	// Rebuilt records that nothing is lost any more.
	Rebuilt(ctx context.Context) error
}

// Docker tells networks and running containers, see engine.Client.
type Docker interface {
	Networks(ctx context.Context) ([]engine.Network, error)
	Running(ctx context.Context) ([]engine.Endpoint, error)
	Sandbox(ctx context.Context, container, endpoint string) (path string, names []string, err error)
}

var _ Docker = (*engine.Client)(nil)

// Config is what Run works with.
type Config struct {
	Registry Registry
	Docker   Docker
	Driver   string // by which Docker knows weft
	Log      logrus.FieldLogger
}

// takeover is what is remembered between looks.
type takeover struct {
	Config
	unknown map[string]time.Time // endpoint id → unknown in every look since
	ready   time.Time            // since when Docker and the store have answered
	failed  map[string]string    // endpoint id → why, as in the log
	stuck   bool                 // containers run in a network that nobody knows any more
	told    bool                 // the log says that not all can be taken over
}

func begin(cfg Config) *takeover {
	return &takeover{Config: cfg, unknown: map[string]time.Time{}, failed: map[string]string{}}
}

// Run compares Docker's endpoints with the records until they agree. While weft and
// Docker run, they go on agreeing, so Run once for each connection to Docker is enough.
func Run(ctx context.Context, cfg Config) error {
	t := begin(cfg)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		left, err := t.look(ctx, time.Now())
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if t.settle(ctx, left, time.Now()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look takes over what is due. It gives what is still unknown: endpoints, and
// networks that this host is about to take over.
func (t *takeover) look(ctx context.Context, now time.Time) (left []string, err error) {
	networks, err := t.Docker.Networks(ctx)
	if err != nil {
		return nil, err
	}
	endpoints, err := t.Docker.Running(ctx)
	if err != nil {
		return nil, err
	}
	view := match.View{Inventory: t.Registry.Inventory()}
	view.Kernel = match.Identify(networks, endpoints, view.Remains)
	known := map[string]bool{}
	for _, e := range t.Registry.Snapshot().Local {
		known[e.ID] = true
	}
	ours := map[string]bool{} // by Docker's id, of weft's networks: whether weft knows it, or will
	for _, n := range networks {
		if n.Driver != engine.DriverName(t.Driver) {
			continue
		}
		_, attached := view.Docker[n.ID]
		_, matches := view.Find(n)
		ours[n.ID] = attached || matches
		if !attached && matches {
			left = append(left, "network "+n.Name)
		}
	}
	seen := map[string]time.Time{}
	var due []engine.Endpoint
	t.stuck = false
	for _, e := range endpoints {
		match, weft := ours[e.Network]
		if !weft || known[e.ID] {
			continue
		}
		left = append(left, fmt.Sprintf("endpoint %.12s", e.ID))
		if !match {
			t.stuck = true
			continue
		}
		since, again := t.unknown[e.ID]
		if !again {
			since = now
		}
		seen[e.ID] = since
		if record := view.Docker[e.Network]; record.ID != "" && now.Sub(since) >= unknownFor {
			due = append(due, e)
		}
	}
	t.unknown = seen
	t.adopt(ctx, due, view)
	slices.Sort(left)
	return left, nil
}

// adopt records endpoints again.
func (t *takeover) adopt(ctx context.Context, due []engine.Endpoint, view match.View) {
	results := make([]error, len(due))
	var g errgroup.Group
	g.SetLimit(engine.AtOnce)
	for i, e := range due {
		g.Go(func() error {
			results[i] = t.record(ctx, e, view.Docker[e.Network].Network)
			return nil
		})
	}
	_ = g.Wait() // the results are in results
	for i, err := range results {
		if err == nil || ctx.Err() != nil || t.failed[due[i].ID] == err.Error() {
			continue
		}
		t.failed[due[i].ID] = err.Error()
		t.Log.WithError(err).WithField("container", due[i].Container).
			Warn("A container's endpoint that this host has lost its record of could not be taken over; this is tried again.")
	}
}

func (t *takeover) record(ctx context.Context, f engine.Endpoint, n overlay.Network) error {
	e, err := endpointOf(f, n)
	if err != nil {
		return fmt.Errorf("endpoint %.12s of container %.12s: %w", f.ID, f.Container, err)
	}
	var names []string
	if e.Sandbox, names, err = t.Docker.Sandbox(ctx, f.Container, f.ID); err != nil {
		return err
	}
	e.Name, e.Names = names[0], names
	if err := t.Registry.Adopt(ctx, e); err != nil {
		return err
	}
	t.Log.WithFields(map[string]any{"network": n.Name, "id": n.ID, "endpoint": e.ID, "container": e.Name, "addrs": e.Addrs}).Warn("A container's endpoint was unknown here, since this host's state was lost; it is taken over.")
	return nil
}

// endpointOf is what the driver's calls would have recorded.
func endpointOf(f engine.Endpoint, n overlay.Network) (overlay.Endpoint, error) {
	e := overlay.Endpoint{ID: f.ID, Network: n.ID}
	for _, text := range f.Addrs {
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return e, fmt.Errorf("Docker's address %q: %w", text, err)
		}
		e.Addrs = append(e.Addrs, a)
	}
	if len(e.Addrs) == 0 {
		return e, fmt.Errorf("Docker shows no address of it")
	}
	slices.SortFunc(e.Addrs, netip.Addr.Compare)
	e.MAC = overlay.MACOf(n.ID, e.Addrs[0])
	if f.MAC == "" {
		return e, nil
	}
	var err error
	e.MAC, err = overlay.ParseMAC(f.MAC)
	return e, err
}

// settle says whether the takeover is over, and records that it is.
func (t *takeover) settle(ctx context.Context, left []string, now time.Time) bool {
	lost, ready := t.Registry.Rebuilding()
	if !ready && lost {
		return false // without the store's networks nothing can be matched
	}
	if t.ready.IsZero() {
		t.ready = now
	}
	late := now.Sub(t.ready) >= rebuildFor
	if len(left) > 0 && !late {
		return false
	}
	if late && len(left) > 0 && !t.told {
		t.told = true
		t.Log.WithField("left", left).WithField("why", slices.Sorted(maps.Values(t.failed))).
			Error("Not all that Docker has could be taken over after this host's state was lost: restart these containers.")
	}
	if !lost {
		return true
	}
	if t.stuck {
		return false // the kernel keeps what these containers have, until somebody removes the network
	}
	if err := t.Registry.Rebuilt(ctx); err != nil {
		t.Log.WithError(err).Warn("It could not be recorded that this host's records are complete; this is tried again.")
		return false
	}
	t.Log.Info("This host's records agree with what Docker has.")
	return true
}
