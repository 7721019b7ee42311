package main

import (
	"context"
	"slices"
	"time"
)

// fault is one thing that happens to a cluster, and a row of the table.
type fault struct {
	name  string // for -only
	title string // the row
	lab   kind
	// waits: it mostly waits, so that several may be played side by side.
	waits bool
	// starts is how often a container is started on some host while the fault
	// lasts; 0 is never.
	starts time.Duration
	// lossless and startful are goals: no packet is lost, no start fails.
	lossless, startful bool
	figures            []figure
	// harm brings the fault about and returns when it has lasted long enough;
	// mend ends it, and the time until all is whole counts from its beginning,
	// or from where it calls mended.
	harm, mend func(ctx context.Context, p *play) error
}

// figure is one more thing that is measured of a fault, in seconds unless its
// title says something else.
type figure struct {
	name, title string
	goal        float64 // at most; 0 if there is none
}

// without is the figure without its goal, which is another fault's.
func (g figure) without() figure { return figure{name: g.name, title: g.title} }

// kind is what a fault needs of its lab.
type kind string

// The kinds. All have three hosts, whose Docker has live-restore.
const (
	plain kind = "one Consul server"
	three kind = "three Consul servers"
	reap  kind = "one Consul server, --reap 30s"
)

// faults returns all of them, in the order of the table.
func faults() []*fault {
	return slices.Concat(weftFaults(), dockerFaults(), consulFaults(), linkFaults(), hostFaults(), kernelFaults(), stateFaults())
}

// nothing is the harm or the mending of a fault that has none.
func nothing(context.Context, *play) error { return nil }

// last waits while a fault lasts.
func last(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
