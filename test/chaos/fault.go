package chaos

import (
	"context"
	"errors"
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
	undo, err := r.harm(ctx, o)
	if err != nil {
		r.history.fail(time.Now(), "#%d %s: %v", o.n, o, err)
	}
	time.Sleep(o.last)
	mended := time.Now()
	if undo != nil {
		if err := undo(); err != nil {
			r.history.fail(time.Now(), "#%d the end of %s: %v", o.n, o, err)
		}
	}
	over()
	r.history.note(mended, "the end of %s (%s)", o, time.Since(mended).Round(time.Millisecond))
	r.count(string(o.kind))
}

// spoilt is what does not work while the fault lasts.
func (r *runner) spoilt(o op) []string {
	switch o.kind {
	case killWeft, freezeWeft, restartWeft:
		return []string{o.host + "/weft"}
	case freezeDockerd:
		return []string{o.host + "/dockerd"}
	case killDockerd, restartDockerd:
		return append([]string{o.host + "/dockerd"}, r.ended(o.host)...)
	case crashHost:
		return append([]string{o.host + "/weft", o.host + "/dockerd"}, r.ended(o.host)...)
	case cutStore:
		return []string{o.host + "/store"}
	case cutHosts:
		return []string{way(o.host, o.peer)}
	case renameHost:
		return []string{o.host + "/weft"}
	case setBack:
		return []string{o.host + "/weft", o.host + "/state"}
	case cloneHost, twinHost, forgeMessages:
		return nil // nobody may notice
	case spoilStore:
		return r.everywhere("/records")
	default:
		return r.everywhere("/store")
	}
}

// ended is the trouble of a host's containers when its dockerd ends.
func (r *runner) ended(host string) []string {
	if r.LiveRestore {
		return nil
	}
	return []string{host + "/containers"}
}

// everywhere is the trouble on each host.
func (r *runner) everywhere(what string) []string {
	var all []string
	for _, h := range r.cluster.Hosts() {
		all = append(all, h.Name()+what)
	}
	return all
}

// way is the trouble of a cut between two hosts.
func way(a, b string) string {
	p := pair(a, b)
	return p[0] + "-" + p[1]
}

// harm brings the fault about, and gives what ends it.
func (r *runner) harm(ctx context.Context, o op) (undo func() error, err error) {
	h := r.Lab.Host(o.host)
	starts := func(services ...lab.Service) func() error {
		return func() error {
			for _, s := range services {
				if err := h.Start(ctx, s); err != nil {
					return err
				}
			}
			return nil
		}
	}
	switch o.kind {
	case killWeft:
		return starts(lab.Weft), h.Kill(ctx, lab.Weft)
	case restartWeft:
		return starts(lab.Weft), h.Stop(ctx, lab.Weft)
	case killDockerd:
		return starts(lab.Weft, lab.Dockerd), h.Kill(ctx, lab.Dockerd)
	case restartDockerd:
		return starts(lab.Weft, lab.Dockerd), h.Stop(ctx, lab.Dockerd)
	case crashHost:
		return starts(lab.Weft, lab.Dockerd), errors.Join(h.Kill(ctx, lab.Weft), h.Kill(ctx, lab.Dockerd))
	case freezeWeft:
		return func() error { return h.Signal(lab.Weft, unix.SIGCONT) }, h.Signal(lab.Weft, unix.SIGSTOP)
	case freezeDockerd:
		return func() error { return h.Signal(lab.Dockerd, unix.SIGCONT) }, h.Signal(lab.Dockerd, unix.SIGSTOP)
	case cutStore:
		for _, c := range r.Lab.Consuls() {
			err = errors.Join(err, r.cuts.add(ctx, o.host, c.Name()))
		}
		return func() error {
			var err error
			for _, c := range r.Lab.Consuls() {
				err = errors.Join(err, r.cuts.remove(ctx, o.host, c.Name()))
			}
			return err
		}, err
	case cutHosts:
		return func() error { return r.cuts.remove(ctx, o.host, o.peer) }, r.cuts.add(ctx, o.host, o.peer)
	case renameHost:
		return r.rename(ctx, o)
	case setBack:
		return r.setBack(ctx, o)
	case cloneHost:
		return nil, r.clone(ctx, o)
	case twinHost:
		return nil, r.twin(ctx, o)
	case spoilStore:
		return r.spoil(ctx, o)
	case forgeMessages:
		return nil, r.forge(ctx, o)
	default:
		return r.consulFault(ctx, o)
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
