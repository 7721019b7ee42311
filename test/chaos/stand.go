package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/test/pulse"
	"github.com/weft-net/weft/test/whole"
)

// standing is the network of the containers that no operation touches, one on each
// host.
const standing = "standing"

// Packets go between each two of them all the time, and are looked at for a window
// after the other.
const (
	window = 2 * time.Second
	beat   = 50 * time.Millisecond
)

// absent is how long a standing container may be gone after its dockerd, with which it
// ended, was.
const absent = 40 * time.Second

// stander is one of them.
type stander struct{ host, id string }

// stand runs the containers.
func (r *runner) stand(ctx context.Context) ([]stander, error) {
	hosts := r.cluster.Hosts()
	_, err := hosts[0].Docker(ctx, "network", "create", "-d", "weft", "--ipam-driver", "weft", "--subnet", "10.78.0.0/24", standing)
	if err != nil {
		return nil, err
	}
	var all []stander
	for _, h := range hosts {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			if _, err = h.Docker(ctx, "network", "inspect", standing); err == nil || time.Now().After(end) {
				break
			}
		}
		id, err := h.Docker(ctx, "run", "-d", "--name", standing+"-"+h.Name(), "--restart", "always", "--network", standing, "busybox", "sleep", "100000")
		if err != nil {
			return nil, err
		}
		all = append(all, stander{host: h.Name(), id: id})
	}
	return all, nil
}

// packets sends packets between the containers until ctx ends, and tells of those that
// are lost though nothing was wrong with their way.
func (r *runner) packets(ctx context.Context, all []stander) {
	for ctx.Err() == nil {
		began := time.Now()
		now, err := r.cluster.Containers()
		if err != nil {
			r.history.fail(began, "%v", err)
			return
		}
		var ways sync.WaitGroup
		for _, a := range all {
			from := find(now, a)
			if from == nil {
				r.missing(a, began)
				continue
			}
			for _, b := range all {
				if to := find(now, b); a != b && to != nil {
					ways.Go(func() { r.exchange(ctx, *from, *to) })
				}
			}
		}
		ways.Wait()
		time.Sleep(window - time.Since(began))
	}
}

func find(now []whole.Container, s stander) *whole.Container {
	i := slices.IndexFunc(now, func(c whole.Container) bool { return c.ID == s.id })
	if i < 0 || len(now[i].Addrs) == 0 {
		return nil
	}
	return &now[i]
}

// missing tells of a container that does not run, or has no address, though nothing
// was wrong with its host's dockerd.
func (r *runner) missing(s stander, at time.Time) {
	if r.troubles.within(s.host+"/containers", at, at, absent) {
		return
	}
	r.history.fail(at, "container %s-%s does not run, or has no address", standing, s.host)
}

// exchange sends packets from one to the other for one window.
func (r *runner) exchange(ctx context.Context, from, to whole.Container) {
	began := time.Now()
	p, err := pulse.NewPings(fmt.Sprintf("/proc/%d/ns/net", from.PID), to.Addrs[0], beat)
	if err != nil {
		return // it has just ended
	}
	sending, stop := context.WithTimeout(ctx, window)
	defer stop()
	p.Run(sending)
	if p.Lost() == 0 || r.disconnected(from.Host, to.Host, began) {
		return
	}
	r.history.fail(began, "%d of %d packets were lost from %s on %s to %s on %s, and nothing was wrong between them",
		p.Lost(), p.Sent(), from.Addrs[0], from.Host, to.Addrs[0], to.Host)
}

// disconnected says whether there was a reason since then for which containers of the
// two hosts do not reach each other.
func (r *runner) disconnected(a, b string, since time.Time) bool {
	now := time.Now()
	if r.troubles.within(way(a, b), since, now, 3*time.Second) {
		return true
	}
	return slices.ContainsFunc([]string{a, b}, func(host string) bool {
		return r.troubles.within(host+"/containers", since, now, absent)
	})
}
