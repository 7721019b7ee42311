// Package reconcile makes this host's kernel match its records, continuously and one
// pass at a time. Requests, changes of the records, kernel events and the clock all
// ask for the same pass.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
)

// Kernel is the one door to the kernel.
type Kernel interface {
	// Set makes the kernel hold cfg. With verify it reads everything back, without
	// verify only what cfg changes. The outcome has the drift that was repaired, and
	// what failed by network. err says what failed for all.
	Set(ctx context.Context, cfg overlay.Config, verify bool) (Outcome, error)
}

// Outcome is what one pass did.
type Outcome struct {
	Repaired []string         // drift, one sentence each
	Failed   map[string]error // by network id
}

// Config is what a Reconciler is made from.
type Config struct {
	Kernel   Kernel
	Snapshot func() overlay.Snapshot
	Changes  func() (changes <-chan struct{}, stop func()) // of the records
	// Version is how many changes of the records there were: a Snapshot taken after the call
	// has them all. nil: Sync waits for a pass that begins after it.
	Version func() uint64
	Verify  time.Duration // how often everything is read back
	Log     logrus.FieldLogger
	Observe func(Pass) // hears of each pass; may be nil; must not block
}

// Pass tells what one pass came to.
type Pass struct {
	Verify  bool // it read everything back
	Took    time.Duration
	Repairs int  // how many cases of drift were repaired
	Failed  bool // something could not be brought to match the records
}

// Reconciler runs the passes.
type Reconciler struct {
	cfg Config
	ask chan struct{} // wakes Run; one waiting token is enough for many

	mu     sync.Mutex
	verify bool  // guarded by mu: the next pass reads everything back
	last   *pass // guarded by mu: the pass that began last; nil: none has
	next   *pass // guarded by mu: the pass that has not begun
	status Status
}

// toldRepairs is how many repairs of one pass the log names.
const toldRepairs = 3

// pass is one run's promise to those who asked for it.
type pass struct {
	version uint64 // of the records that it sets up, at least; known from its beginning on
	done    chan struct{}
	outcome Outcome
	err     error
}

// Status tells how the passes are doing.
type Status struct {
	Passes  uint64
	Repairs uint64
	Last    time.Time     // end of the last pass
	Took    time.Duration // of the last pass
	Errors  []string      // of the last pass, sorted
	Failed  []string      // networks that Errors speak of, sorted
}

// New makes a Reconciler that does nothing until Run.
func New(cfg Config) *Reconciler {
	if cfg.Observe == nil {
		cfg.Observe = func(Pass) {}
	}
	if cfg.Version == nil {
		var calls atomic.Uint64
		cfg.Version = func() uint64 { return calls.Add(1) }
	}
	return &Reconciler{cfg: cfg, ask: make(chan struct{}, 1), next: newPass()}
}

func newPass() *pass { return &pass{done: make(chan struct{})} }

// Sync waits for a pass that sets up all that was recorded before the call, and gives what
// went wrong in it for the network. That may be a pass that has begun already: whoever has
// recorded something has woken Run. If something went wrong in that one, another pass tries
// again. Requests at the same time share a pass.
func (r *Reconciler) Sync(ctx context.Context, network string) error {
	version := r.cfg.Version()
	r.mu.Lock()
	p, begun := r.next, false
	if r.last != nil && r.last.version >= version {
		p, begun = r.last, true
	}
	r.mu.Unlock()
	if begun {
		if err := p.wait(ctx, network); err == nil || ctx.Err() != nil {
			return err
		}
		r.mu.Lock()
		p = r.next
		r.mu.Unlock()
	}
	r.Ask()
	return p.wait(ctx, network)
}

// wait waits for the end of the pass, and gives what went wrong in it for the network.
func (p *pass) wait(ctx context.Context, network string) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for the kernel to be set up: %w", ctx.Err())
	case <-p.done:
	}
	return errors.Join(p.err, p.outcome.Failed[network])
}

// Ask asks for a pass without waiting.
func (r *Reconciler) Ask() {
	select {
	case r.ask <- struct{}{}:
	default:
	}
}

// Verify asks for a pass that reads everything back, without waiting.
func (r *Reconciler) Verify() {
	r.mu.Lock()
	r.verify = true
	r.mu.Unlock()
	r.Ask()
}

// Status is a copy of how the passes are doing.
func (r *Reconciler) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Run makes passes until ctx ends. A failed pass is repeated after a while, and
// nothing of it is remembered.
func (r *Reconciler) Run(ctx context.Context) error {
	changes, stop := r.cfg.Changes()
	defer stop()
	ticker := time.NewTicker(r.cfg.Verify)
	defer ticker.Stop()
	r.Verify() // the first pass takes over whatever an earlier process left
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.ask:
		case <-changes:
		case <-ticker.C:
			r.mu.Lock()
			r.verify = true
			r.mu.Unlock()
		}
		// Whoever has asked until now is served by this pass.
		for _, asked := range []<-chan struct{}{r.ask, changes} {
			select {
			case <-asked:
			default:
			}
		}
		r.pass(ctx)
	}
}

func (r *Reconciler) pass(ctx context.Context) {
	version := r.cfg.Version()
	r.mu.Lock()
	p, verify := r.next, r.verify
	p.version = version
	r.last, r.next, r.verify = p, newPass(), false
	r.mu.Unlock()

	began := time.Now()
	p.outcome, p.err = r.cfg.Kernel.Set(ctx, overlay.Plan(r.cfg.Snapshot()), verify)
	close(p.done)
	r.note(p, verify, time.Since(began))
}

// note counts and logs a pass. Those who waited for it get its errors as answers.
// The log tells an error once, when it begins.
func (r *Reconciler) note(p *pass, verify bool, took time.Duration) {
	failed := slices.Sorted(maps.Keys(p.outcome.Failed))
	var texts []string
	if p.err != nil {
		texts = append(texts, p.err.Error())
	}
	for _, network := range failed {
		texts = append(texts, p.outcome.Failed[network].Error())
	}
	r.mu.Lock()
	before := len(r.status.Errors)
	r.status.Passes++
	r.status.Repairs += uint64(len(p.outcome.Repaired))
	r.status.Last, r.status.Took, r.status.Errors = time.Now(), took, texts
	r.status.Failed = failed
	r.mu.Unlock()

	r.cfg.Observe(Pass{Verify: verify, Took: took, Repairs: len(p.outcome.Repaired), Failed: len(texts) > 0})
	if repaired := p.outcome.Repaired; len(repaired) > 0 {
		r.cfg.Log.WithFields(logrus.Fields{"repairs": len(repaired), "first": repaired[:min(len(repaired), toldRepairs)]}).
			Warn("The kernel had drifted and was repaired.")
	}
	switch {
	case len(texts) > 0 && before == 0:
		r.cfg.Log.WithField("errors", texts).Error("The kernel could not be brought to match the records; this is tried again.")
	case len(texts) == 0 && before > 0:
		r.cfg.Log.Info("The kernel matches the records again.")
	}
}
