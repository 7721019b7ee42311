package chaos

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/whole"
)

const (
	healTime  = 60 * time.Second  // from the last fault's end until all is whole
	leakTime  = 45 * time.Second  // from the last network's removal until nothing is left, idle connections included
	poolTime  = 150 * time.Second // from then until nothing is left that never became a network or a container
	calmTime  = 10 * time.Second  // without a repair, once all is whole
	driverArg = "driver=weft"
)

// heal ends all faults and waits until the cluster is whole.
func (r *runner) heal(ctx context.Context) bool {
	began := time.Now()
	r.history.note(began, "heal everything")
	if err := r.Lab.Heal(ctx); err != nil {
		r.history.fail(time.Now(), "heal: %v", err)
		return false
	}
	if err := r.startConsuls(ctx); err != nil {
		r.history.fail(time.Now(), "heal: %v", err)
		return false
	}
	for _, h := range r.cluster.Hosts() {
		for _, s := range h.Services() {
			if err := h.Start(ctx, s); err != nil {
				r.history.fail(time.Now(), "heal: %v", err)
				return false
			}
		}
	}
	return r.await(ctx, healTime, "whole", func() []string {
		return slices.DeleteFunc(r.broken(ctx), whole.Late)
	})
}

// broken says what is not whole. A host whose disk was set back keeps what it had in
// stock then from others, for ten minutes.
func (r *runner) broken(ctx context.Context) []string {
	reasons := r.cluster.Broken(ctx)
	kernel, err := r.cluster.KernelDiffers(ctx)
	if err != nil {
		reasons = append(reasons, err.Error())
	}
	return slices.DeleteFunc(append(reasons, kernel...), whole.Stranded)
}

// await waits until there is no reason any more, and tells those that remain.
func (r *runner) await(ctx context.Context, limit time.Duration, what string, reasons func() []string) bool {
	began := time.Now()
	var last []string
	for {
		now := reasons()
		if len(now) == 0 {
			r.history.note(time.Now(), "%s after %s", what, time.Since(began).Round(time.Millisecond))
			r.Say("%s after %s", what, time.Since(began).Round(time.Millisecond))
			return true
		}
		if !slices.Equal(now, last) {
			r.history.note(time.Now(), "not %s yet: %s", what, strings.Join(now[:min(len(now), 8)], "; "))
		}
		last = now
		if time.Since(began) > limit || ctx.Err() != nil {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	for _, reason := range last {
		r.history.fail(time.Now(), "not %s within %s: %s", what, limit, reason)
	}
	return false
}

// calm looks at what must hold at once when all is whole.
func (r *runner) calm(ctx context.Context) {
	r.runNew(ctx)
	before := r.repairs(ctx)
	began := time.Now()
	r.pingAll(ctx)
	time.Sleep(calmTime - time.Since(began))
	if after := r.repairs(ctx); !reflect.DeepEqual(before, after) {
		r.history.fail(time.Now(), "the kernel was repaired though nothing happened: %v, then %v", before, after)
	}
	r.removeNew(ctx)
}

// runNew has each host run a container in some networks: with everything well,
// there is no excuse. Pairs of drawn ones that reach each other are few.
func (r *runner) runNew(ctx context.Context) {
	networks, err := r.cluster.Networks(ctx, "h1")
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
		return
	}
	slices.SortFunc(networks, func(a, b control.Network) int { return strings.Compare(a.ID, b.ID) }) // random
	var g errgroup.Group
	for _, h := range r.cluster.Hosts() {
		g.Go(func() error {
			for _, n := range networks[:min(len(networks), maxNetworks)] {
				o := op{kind: runBox, host: h.Name(), net: n.Name, box: fmt.Sprintf("new%d-%s", r.newest.Add(1), n.Name)}
				began := time.Now()
				_, err := h.Docker(ctx, o.dockerArgs()...)
				if err != nil && strings.Contains(err.Error(), "nothing new is claimed") { // all are recording again
					time.Sleep(3 * time.Second)
					r.try(ctx, op{kind: removeBox, host: o.host, box: o.box}) // run leaves what it could not start
					_, err = h.Docker(ctx, o.dockerArgs()...)
				}
				if err != nil {
					r.history.fail(began, "%s, with all well: %s", o, complaint(err.Error()))
				} else if took := time.Since(began); took > slow {
					r.history.fail(began, "%s, with all well, took %s", o, took.Round(time.Millisecond))
				}
			}
			return nil
		})
	}
	_ = g.Wait() // failures are noted
}

// removeNew removes what runNew ran.
func (r *runner) removeNew(ctx context.Context) {
	for _, h := range r.cluster.Hosts() {
		if err := h.RemoveContainers(ctx, "name=^new"); err != nil {
			r.history.fail(time.Now(), "remove containers of %s: %s", h.Name(), complaint(err.Error()))
		}
	}
}

// check looks at what must hold in the end.
func (r *runner) check(ctx context.Context) {
	r.await(ctx, poolTime, "without what came to nothing", func() []string { return r.broken(ctx) })
	for _, h := range r.cluster.Hosts() {
		r.panics(h)
	}
}

func (r *runner) repairs(ctx context.Context) map[string]uint64 {
	out := map[string]uint64{}
	for _, h := range r.cluster.Hosts() {
		s, err := r.cluster.Control(h.Name()).Status(ctx)
		if err != nil {
			r.history.fail(time.Now(), "%v", err)
		}
		out[h.Name()] = s.Passes.Repairs
	}
	return out
}

// panics looks for what no daemon's log should have.
func (r *runner) panics(h *lab.Host) {
	log, err := os.ReadFile(h.Log(lab.Weft))
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.Contains(line, "DATA RACE") {
			r.history.fail(time.Now(), "weft's log on %s: %s", h.Name(), strings.TrimSpace(line))
		}
	}
}
