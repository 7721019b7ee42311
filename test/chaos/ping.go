package chaos

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// pingAll has every container ping every other of its networks, by address and,
// if the run is to, by name. A ping that fails is tried once more, and counted.
func (r *runner) pingAll(ctx context.Context) {
	all, err := r.spaces()
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
		return
	}
	var networks []network
	if err := r.weft(ctx, "h1", &networks, "network", "ls"); err != nil {
		r.history.fail(time.Now(), "%v", err)
		return
	}
	names := map[string]string{} // by container's id
	if r.Names {
		if names, err = r.containerNames(ctx); err != nil {
			r.history.fail(time.Now(), "%v", err)
		}
	}
	var g errgroup.Group
	g.SetLimit(4)
	var pings, second atomic.Int64
	for _, from := range all {
		for _, to := range all {
			for _, a := range to.addrs {
				if from.id == to.id || !together(networks, from, a) {
					continue
				}
				for _, target := range []string{a.String(), names[to.id]} {
					if target == "" {
						continue
					}
					pings.Add(1)
					g.Go(func() error {
						if ping(ctx, from, target) == nil {
							return nil
						}
						second.Add(1)
						if err := ping(ctx, from, target); err != nil {
							r.history.fail(time.Now(), "%.12s on %s (%v) does not reach %s of %.12s on %s: %v", from.id, from.host, from.addrs, target, to.id, to.host, err)
						}
						return nil
					})
				}
			}
		}
	}
	_ = g.Wait() // failures are noted
	told := fmt.Sprintf("%d containers, %d networks, %d pings, %d needed a second", len(all), len(networks), pings.Load(), second.Load())
	r.history.note(time.Now(), "%s", told)
	r.Say("%s", told)
}

// together says whether from is in the network that has the address.
func together(networks []network, from space, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n network) bool {
		return slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool {
			return p.Contains(a) && slices.ContainsFunc(from.addrs, p.Contains)
		})
	})
}

// containerNames are the names of all hosts' containers in weft's networks.
func (r *runner) containerNames(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, h := range r.Lab.Hosts() {
		nets, err := r.dockerNetworks(ctx, h.Name())
		if err != nil {
			return nil, err
		}
		for _, n := range nets {
			for id, c := range n.Containers {
				out[id] = c.Name
			}
		}
	}
	return out, nil
}

// ping pings once from inside the container, with its own resolv.conf.
func ping(ctx context.Context, from space, to string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", "--target", fmt.Sprint(from.pid), "--net", "--mount", "--",
		"/bin/ping", "-c1", "-W1", to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, complaint(string(out)))
	}
	return nil
}
