package mirror

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/overlay"
)

// An endpoint that Docker has in a running container and weft does not know is
// one whose record was lost. Docker shows an endpoint for a moment before and
// after the driver's calls too, so it is taken over only if it was unknown in
// every look for unknownFor.
const (
	takeoverLook = time.Second
	// rebuildFor is how long what cannot be taken over keeps this host from
	// believing that it knows all it has, once Docker and the store answer.
	rebuildFor = 60 * time.Second
)

// found is an endpoint of a running container.
type found struct {
	id        string // the endpoint's
	network   string // Docker's id
	container string
	mac       string
	addrs     []string
}

// running gives the endpoints of all running containers.
func (d *docker) running(ctx context.Context) ([]found, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	list, err := d.api.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Docker's containers: %w", err)
	}
	var out []found
	for _, c := range list {
		if c.NetworkSettings == nil {
			continue
		}
		for _, n := range c.NetworkSettings.Networks {
			if n == nil || n.EndpointID == "" {
				continue
			}
			out = append(out, found{
				id: n.EndpointID, network: n.NetworkID, container: c.ID,
				mac: n.MacAddress, addrs: []string{n.IPAddress, n.GlobalIPv6Address},
			})
		}
	}
	return out, nil
}

// sandbox gives the path of a running container's network namespace and all
// names of its endpoint. Docker answers only when nothing is done to the container.
func (d *docker) sandbox(ctx context.Context, id, endpoint string) (path string, names []string, err error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return "", nil, err
	}
	for _, n := range c.NetworkSettings.Networks {
		if n != nil && n.EndpointID == endpoint && c.State.Running && c.NetworkSettings.SandboxKey != "" {
			return c.NetworkSettings.SandboxKey, allNames(c.Name, c.ID, c.Config.Hostname, n.Aliases, n.DNSNames), nil
		}
	}
	return "", nil, fmt.Errorf("container %.12s does not run with endpoint %.12s any more", id, endpoint)
}

// takeover records again what Docker has and this host's state has lost.
type takeover struct {
	*session
	unknown map[string]time.Time // endpoint id → unknown in every look since
	ready   time.Time            // since when Docker and the store have answered
	failed  map[string]string    // endpoint id → why, as the log has it
	stuck   bool                 // containers run in a network that nobody knows any more
	told    bool                 // that not all can be taken over
}

// takeOver compares Docker's endpoints with the records until they agree. While
// weft and Docker run, they go on agreeing; so once for each session is enough.
func (s *session) takeOver(ctx context.Context) error {
	t := &takeover{session: s, unknown: map[string]time.Time{}, failed: map[string]string{}}
	ticker := time.NewTicker(takeoverLook)
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

// look takes over what is due, and gives what is left to be: endpoints, and
// networks that this host is about to take over.
func (t *takeover) look(ctx context.Context, now time.Time) (left []string, err error) {
	networks, err := t.docker.networks(ctx)
	if err != nil {
		return nil, err
	}
	endpoints, err := t.docker.running(ctx)
	if err != nil {
		return nil, err
	}
	view := viewOf(t.cfg.Registry)
	view.Kernel = identify(networks, endpoints, view.Remains)
	known := map[string]bool{}
	for _, e := range t.cfg.Registry.Snapshot().Local {
		known[e.ID] = true
	}
	ours := map[string]bool{} // Docker's ids of weft's networks: whether weft knows them, or will
	for _, n := range networks {
		if n.Driver != driverName(t.cfg.Driver) {
			continue
		}
		_, attached := view.Docker[n.ID]
		_, matches := view.match(n)
		ours[n.ID] = attached || matches
		if !attached && matches {
			left = append(left, "network "+n.Name)
		}
	}
	seen := map[string]time.Time{}
	var due []found
	t.stuck = false
	for _, e := range endpoints {
		match, weft := ours[e.network]
		if !weft || known[e.id] {
			continue
		}
		left = append(left, fmt.Sprintf("endpoint %.12s", e.id))
		if !match {
			t.stuck = true
			continue
		}
		since, again := t.unknown[e.id]
		if !again {
			since = now
		}
		seen[e.id] = since
		if record := view.Docker[e.network]; record.ID != "" && now.Sub(since) >= unknownFor {
			due = append(due, e)
		}
	}
	t.unknown = seen
	t.adopt(ctx, due, view)
	slices.Sort(left)
	return left, nil
}

// adopt records endpoints again.
func (t *takeover) adopt(ctx context.Context, due []found, view clusterView) {
	results := make([]error, len(due))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, e := range due {
		g.Go(func() error {
			results[i] = t.record(ctx, e, view.Docker[e.network].Network)
			return nil
		})
	}
	_ = g.Wait() // the results are in results
	for i, err := range results {
		if err == nil || ctx.Err() != nil || t.failed[due[i].id] == err.Error() {
			continue
		}
		t.failed[due[i].id] = err.Error()
		t.cfg.Log.WithError(err).WithField("container", due[i].container).
			Warn("A container's endpoint that this host has lost its record of could not be taken over; this is tried again.")
	}
}

func (t *takeover) record(ctx context.Context, f found, n overlay.Network) error {
	e, err := f.endpoint(n)
	if err != nil {
		return fmt.Errorf("endpoint %.12s of container %.12s: %w", f.id, f.container, err)
	}
	var names []string
	if e.Sandbox, names, err = t.docker.sandbox(ctx, f.container, f.id); err != nil {
		return err
	}
	e.Name, e.Names = names[0], names
	if err := t.cfg.Registry.Adopt(ctx, e); err != nil {
		return err
	}
	t.cfg.Log.WithFields(map[string]any{"network": n.Name, "id": n.ID, "endpoint": e.ID, "container": e.Name, "addrs": e.Addrs}).Warn("A container's endpoint was unknown here, since this host's state was lost; it is taken over.")
	return nil
}

// endpoint is what the driver's calls would have recorded.
func (f found) endpoint(n overlay.Network) (overlay.Endpoint, error) {
	e := overlay.Endpoint{ID: f.id, Network: n.ID}
	for _, text := range f.addrs {
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
	if f.mac == "" {
		return e, nil
	}
	var err error
	e.MAC, err = overlay.ParseMAC(f.mac)
	return e, err
}

// settle says whether it is over, and lets the rest of weft know.
func (t *takeover) settle(ctx context.Context, left []string, now time.Time) bool {
	lost, ready := t.cfg.Registry.Rebuilding()
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
		t.cfg.Log.WithField("left", left).WithField("why", slices.Sorted(maps.Values(t.failed))).
			Error("Not all that Docker has could be taken over after this host's state was lost: restart these containers.")
	}
	if !lost {
		return true
	}
	if t.stuck {
		return false // these containers have what the kernel has, until somebody removes the network
	}
	if err := t.cfg.Registry.Rebuilt(ctx); err != nil {
		t.cfg.Log.WithError(err).Warn("It could not be recorded that this host's records are complete; this is tried again.")
		return false
	}
	t.cfg.Log.Info("This host's records agree with what Docker has.")
	return true
}
