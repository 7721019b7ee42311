package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/control"
)

// task is a part of the daemon that works from the start to the end.
type task struct {
	name string
	// needs are the tasks whose work it waits for. All tasks start at once and in no
	// order: each waits by itself, and while it does, it answers from what this host
	// has recorded.
	needs []string
	run   func(ctx context.Context) error // until ctx ends; an error ends all tasks
}

// tasks are all that this daemon's configuration asks for, those first that the others
// need.
func (d *daemon) tasks(commands *control.Server) []task {
	out := []task{
		// What is known: it needs the store, and serves without.
		{name: "registry", run: func(ctx context.Context) error { return d.registry.Run(ctx) }},
		{name: "direct messages", needs: []string{"registry"}, run: func(ctx context.Context) error { return d.push.Run(ctx) }},
		{name: "addresses", needs: []string{"registry"}, run: func(ctx context.Context) error { return d.allocator.Run(ctx) }},
		{name: "changes passed on", needs: []string{"registry", "addresses"}, run: d.passOn},

		// What the kernel has.
		{name: "passes", needs: []string{"registry"}, run: func(ctx context.Context) error { return d.reconciler.Run(ctx) }},
		{name: "underlay watch", needs: []string{"passes"}, run: func(ctx context.Context) error {
			return d.kernel.Watch(ctx, func() { d.followUnderlay(ctx) })
		}},
		{name: "border watch", needs: []string{"passes"}, run: func(ctx context.Context) error {
			return d.kernel.WatchBorder(ctx, d.reconciler.Verify)
		}},
		{name: "arrivals", needs: []string{"passes"}, run: func(ctx context.Context) error {
			return d.arrivals.Run(ctx, d.kernel.AwaitCarrier, d.registry.Arrived)
		}},
		{name: "ways without a tunnel", needs: []string{"registry", "passes"}, run: func(ctx context.Context) error { return d.kernel.RunDirect(ctx, d.registry.SetDirect) }},
		{name: "names", needs: []string{"registry", "passes"}, run: func(ctx context.Context) error { return d.names.Run(ctx) }},
		{name: "probes", needs: []string{"registry", "passes"}, run: func(ctx context.Context) error { return d.prober.Run(ctx) }},

		// Who asks: Docker and people.
		{name: "driver calls", needs: []string{"addresses", "passes"}, run: func(ctx context.Context) error { return d.server.Run(ctx, d.plugin) }},
		{name: "commands", run: func(ctx context.Context) error {
			defer d.checks.Wait() // what they look through is closed next
			return commands.Run(ctx, d.control)
		}},
	}
	if d.scrapes != nil {
		out = append(out, task{name: "metrics", run: func(ctx context.Context) error { return d.metrics.Run(ctx, d.scrapes) }})
	}
	if d.mirror != nil { // what it creates in Docker comes back as driver calls
		out = append(out, task{name: "mirror", needs: []string{"registry", "driver calls"}, run: func(ctx context.Context) error { return d.mirror.Run(ctx) }})
	}
	return out
}

// startAll starts the tasks. wait ends when all of them have, with the first error; a
// task's error ends the others. ended is told of each end.
func startAll(ctx context.Context, tasks []task, ended func(name string)) (wait func() error) {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		g.Go(func() error {
			defer ended(t.name)
			return t.run(ctx)
		})
	}
	return g.Wait
}
