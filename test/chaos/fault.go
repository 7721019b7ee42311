package chaos

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// fault brings something about, and ends it.
func (r *runner) fault(ctx context.Context, o op) {
	began := time.Now()
	over := r.troubles.begin(r.spoilt(o)...)
	r.history.note(began, "%s", o)
	if err := r.harm(ctx, o); err != nil {
		r.history.fail(time.Now(), "#%d %s: %v", o.n, o, err)
	}
	time.Sleep(o.last)
	mended := time.Now()
	if err := r.mend(ctx, o); err != nil {
		r.history.fail(time.Now(), "#%d the end of %s: %v", o.n, o, err)
	}
	over()
	r.history.note(mended, "the end of %s (%s)", o, time.Since(mended).Round(time.Millisecond))
	r.count(string(o.kind))
	switch o.kind {
	case killWeft, freezeWeft, restartWeft, killDockerd, restartDockerd, crashHost:
		r.mu.Lock()
		r.crashes++
		r.mu.Unlock()
	default:
	}
}

// spoilt is what does not work while the fault lasts.
func (r *runner) spoilt(o op) []string {
	switch o.kind {
	case killWeft, freezeWeft, restartWeft:
		return []string{o.host + "/weft"}
	case killDockerd, restartDockerd:
		return []string{o.host + "/dockerd"}
	case crashHost:
		return []string{o.host + "/weft", o.host + "/dockerd"}
	case killConsul, freezeConsul, restartConsul, wipeConsul:
		var all []string
		for _, h := range r.Lab.Hosts() {
			all = append(all, h.Name()+"/store")
		}
		return all
	case cutStore:
		return []string{o.host + "/store"}
	default:
		return nil
	}
}

func (r *runner) harm(ctx context.Context, o op) error {
	h, c := r.Lab.Host(o.host), r.Lab.Consul(1)
	switch o.kind {
	case killWeft:
		return h.Kill(ctx, lab.Weft)
	case freezeWeft:
		return h.Signal(lab.Weft, unix.SIGSTOP)
	case restartWeft:
		return h.Stop(ctx, lab.Weft)
	case killDockerd:
		return h.Kill(ctx, lab.Dockerd)
	case restartDockerd:
		return h.Stop(ctx, lab.Dockerd)
	case crashHost:
		if err := h.Kill(ctx, lab.Weft); err != nil {
			return err
		}
		return h.Kill(ctx, lab.Dockerd)
	case killConsul:
		return c.Kill(ctx)
	case freezeConsul:
		return c.Signal(unix.SIGSTOP)
	case restartConsul:
		return c.Stop(ctx)
	case wipeConsul:
		return c.Wipe(ctx)
	case cutStore, cutHosts:
		return r.cuts.add(ctx, o.host, o.peer)
	default:
		return nil
	}
}

func (r *runner) mend(ctx context.Context, o op) error {
	h, c := r.Lab.Host(o.host), r.Lab.Consul(1)
	switch o.kind {
	case killWeft, restartWeft:
		return h.Start(ctx, lab.Weft)
	case freezeWeft:
		return h.Signal(lab.Weft, unix.SIGCONT)
	case killDockerd, restartDockerd, crashHost:
		if err := h.Start(ctx, lab.Weft); err != nil {
			return err
		}
		return h.Start(ctx, lab.Dockerd)
	case killConsul, restartConsul, wipeConsul:
		return c.Start(ctx)
	case freezeConsul:
		return c.Signal(unix.SIGCONT)
	case cutStore, cutHosts:
		return r.cuts.remove(ctx, o.host, o.peer)
	default:
		return nil
	}
}

// cuts are those there are. The lab heals all at once or none.
type cuts struct {
	lab *lab.Lab
	mu  sync.Mutex
	now map[[2]string]int
}

func (c *cuts) add(ctx context.Context, a, b string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		c.now = map[[2]string]int{}
	}
	c.now[pair(a, b)]++
	return c.lab.Cut(ctx, a, b)
}

func (c *cuts) remove(ctx context.Context, a, b string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now[pair(a, b)]--; c.now[pair(a, b)] > 0 {
		return nil
	}
	delete(c.now, pair(a, b))
	if err := c.lab.Heal(ctx); err != nil {
		return err
	}
	for p := range maps.Keys(c.now) {
		if err := c.lab.Cut(ctx, p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

func pair(a, b string) [2]string {
	p := []string{a, b}
	slices.Sort(p)
	return [2]string(p)
}
