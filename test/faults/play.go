package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/pulse"
)

// Before a fault, and once all is whole after it, there is traffic for calm. All
// must be whole within patience of a fault's end.
const (
	calm     = time.Second
	patience = 90 * time.Second
)

// play is one playing of a fault.
type play struct {
	fault *fault
	stage *stage

	mu     sync.Mutex
	sample *sample
	end    time.Time // of the fault
	undo   []func(context.Context) error
	n      int
}

// run plays the fault once, and leaves the stage as it was unless there is an
// error in the sample.
func run(ctx context.Context, s *stage, f *fault, number int) *sample {
	p := &play{fault: f, stage: s, sample: &sample{Fault: f.name, Run: number, Figures: map[string]float64{}}}
	if err := p.all(ctx); err != nil {
		p.sample.Error = err.Error()
	}
	return p.sample
}

func (p *play) all(ctx context.Context) error {
	if err := until(ctx, time.Minute, p.stage.broken); err != nil {
		return fmt.Errorf("not whole before the fault: %w", err)
	}
	for _, b := range p.stage.boxes {
		if err := p.stage.find(ctx, b.host); err != nil {
			return err
		}
	}
	traffic, err := pulse.New(ctx, p.stage.box("h1").end(), p.stage.box("h2").end())
	if err != nil {
		return err
	}
	pulsing, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { traffic.Run(pulsing) })
	err = p.harmAndMend(ctx)
	stop()
	running.Wait()
	p.sample.Result = traffic.Result()
	for _, undo := range slices.Backward(p.undo) {
		err = errors.Join(err, undo(ctx))
	}
	return err
}

func (p *play) harmAndMend(ctx context.Context) error {
	if err := last(ctx, calm); err != nil {
		return err
	}
	starting, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	if p.fault.starts > 0 {
		running.Go(func() { p.starts(starting) })
	}
	err := p.fault.harm(ctx, p)
	stop()
	running.Wait()
	if err != nil {
		return fmt.Errorf("the fault: %w", err)
	}
	p.mended()
	if err := p.fault.mend(ctx, p); err != nil {
		return fmt.Errorf("the end of the fault: %w", err)
	}
	if err := p.whole(ctx, p.end); err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	return last(ctx, calm)
}

// mended says that the fault ends now.
func (p *play) mended() { p.end = time.Now() }

// whole measures how long after a moment all is whole, and still is a second
// later.
func (p *play) whole(ctx context.Context, from time.Time) error {
	for {
		if err := until(ctx, time.Until(from.Add(patience)), p.stage.broken); err != nil {
			return fmt.Errorf("not whole: %w", err)
		}
		// The look at it counts: what it saw last may have become so meanwhile.
		p.sample.Whole = time.Since(from).Seconds()
		if err := last(ctx, time.Second); err != nil {
			return err
		}
		if p.stage.broken(ctx) == nil {
			return nil
		}
	}
}

// measure notes as a figure how long it takes from now until the check holds.
func (p *play) measure(ctx context.Context, name string, limit time.Duration, check func(context.Context) error) error {
	from := time.Now()
	if err := until(ctx, limit, check); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.set(name, time.Since(from).Seconds())
	return nil
}

// set notes a figure; of several, the worst.
func (p *play) set(name string, value float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sample.Figures[name] = max(p.sample.Figures[name], value)
}

func (p *play) host(name string) *lab.Host { return p.stage.lab.Host(name) }

// later has something undone when all has been measured.
func (p *play) later(undo func(context.Context) error) { p.undo = append(p.undo, undo) }

// number is another one each time.
func (p *play) number() int {
	p.n++
	return p.n
}

// starts starts containers that end at once, on one host after another, until
// ctx ends.
func (p *play) starts(ctx context.Context) {
	hosts := p.stage.lab.Hosts()
	for i := 0; ; i++ {
		p.start(context.WithoutCancel(ctx), hosts[i%len(hosts)], "--rm", "--network", networks[0], "busybox", "true")
		if last(ctx, p.fault.starts) != nil {
			return
		}
	}
}

// start starts a container, notes how that went, and says whether it did.
func (p *play) start(ctx context.Context, h *lab.Host, args ...string) bool {
	began := time.Now()
	_, err := h.Docker(ctx, append([]string{"run"}, args...)...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sample.Starts++
	p.sample.Slowest = max(p.sample.Slowest, time.Since(began).Seconds())
	if err != nil {
		p.sample.Refused = append(p.sample.Refused, err.Error())
	}
	return err == nil
}
