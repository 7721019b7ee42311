package chaos

import (
	"context"
	"fmt"
	"os/exec"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/test/whole"
)

// pingAll has every container ping every other of its networks, by address and
// by name. A ping that fails is tried once more, and counted.
func (r *runner) pingAll(ctx context.Context) {
	all, err := r.cluster.Containers()
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
		return
	}
	networks, err := r.cluster.Networks(ctx, "h1")
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
		return
	}
	names, err := r.containerNames(ctx)
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
	}
	var g errgroup.Group
	g.SetLimit(4)
	var pings, second atomic.Int64
	for _, from := range all {
		for _, to := range all {
			for _, a := range to.Addrs {
				if from.ID == to.ID || !whole.Together(networks, from, a) {
					continue
				}
				for _, target := range []string{a.String(), names[to.ID]} {
					if target == "" {
						continue
					}
					pings.Add(1)
					g.Go(func() error {
						if ping(ctx, from, target, 1) == nil {
							return nil
						}
						second.Add(1)
						r.history.note(time.Now(), "%.12s on %s does not reach %s at once", from.ID, from.Host, target)
						if err := ping(ctx, from, target, 5); err != nil {
							r.history.fail(time.Now(), "%.12s on %s (%v) does not reach %s of %.12s on %s: %v", from.ID, from.Host, from.Addrs, target, to.ID, to.Host, err)
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

// containerNames are the names of all hosts' containers in weft's networks, by
// the containers' ids.
func (r *runner) containerNames(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, h := range r.cluster.Hosts() {
		nets, err := r.cluster.DockerNetworks(ctx, h.Name())
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

// ping pings once from inside the container, with its own resolv.conf, and waits
// that many seconds for the answer.
func ping(ctx context.Context, from whole.Container, to string, wait int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", "--target", fmt.Sprint(from.PID), "--net", "--mount", "--",
		"/bin/ping", "-c1", fmt.Sprintf("-W%d", wait), to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, complaint(string(out)))
	}
	return nil
}
