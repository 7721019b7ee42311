package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
)

// simulation is one run.
type simulation struct {
	settings
	dir, states string
	log         logrus.FieldLogger
	say         func(format string, args ...any)
	profile     func() (stop func(), err error) // of the churn; nil: none is wanted

	cluster *cluster
	report  report
	idle    use
	empty   uint64 // heap before there were hosts

	mu    sync.Mutex // guards all following fields
	slots map[int]*slot
	now   *tally
}

// slot is an endpoint of the workload.
type slot struct {
	started chan struct{} // closed when the start has ended
	endpoint
	runs bool
}

// tally is what has happened in one phase.
type tally struct {
	changes []*change
	starts  []time.Duration // from the call for an address until the container is named
	stops   int
	refused int
	first   string // why
	failed  []error
}

// run does all phases. The report has what was found until an error.
func (s *simulation) run(ctx context.Context) (_ *report, err error) {
	s.report.Settings, s.slots = s.settings, map[int]*slot{}
	s.empty = heap()
	s.say("starting Consul")
	if s.cluster, err = openCluster(s.settings, s.dir, s.states, s.log); err != nil {
		return &s.report, err
	}
	defer func() { err = errors.Join(err, s.cluster.close()) }()
	s.say("starting %d hosts with %d networks", s.Hosts, s.Networks)
	began := time.Now()
	if err := s.cluster.begin(ctx); err != nil {
		return &s.report, err
	}
	s.report.add(phaseBegin, "until all hosts run", time.Since(began).Seconds(), seconds)
	have, claim, err := s.cluster.ready(ctx)
	if err != nil {
		return &s.report, err
	}
	s.report.add(phaseBegin, "until all hosts have all networks", have.Sub(began).Seconds(), seconds)
	s.report.add(phaseBegin, "until all hosts may claim addresses", claim.Sub(began).Seconds(), seconds)
	for _, p := range workload(s.settings) {
		if err := s.phase(ctx, p); err != nil {
			return &s.report, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	s.end()
	if len(s.report.Failures) > 0 {
		return &s.report, errors.New("not everything held")
	}
	return &s.report, nil
}

// phase plays one phase, waits until everybody knows everything, and notes what it cost.
func (s *simulation) phase(ctx context.Context, p phase) error {
	s.say("%s: %d events in %v", p.Name, len(p.Events), p.Lasts)
	if p.Name == phaseChurn && s.profile != nil {
		stop, err := s.profile()
		if err != nil {
			return err
		}
		defer stop()
	}
	s.now = &tally{}
	before, err := s.cluster.read()
	if err != nil {
		return err
	}
	if p.Outage {
		s.cluster.storeAway()
	}
	s.play(ctx, p)
	var back time.Time
	if p.Outage {
		if err := s.cluster.storeBack(); err != nil {
			return err
		}
		back = time.Now()
	}
	if err := errors.Join(s.now.failed...); err != nil {
		return err
	}
	settled, err := s.cluster.settle(ctx)
	if err != nil {
		return err
	}
	after, err := s.cluster.read()
	if err != nil {
		return err
	}
	if err := s.cluster.whole(ctx); err != nil {
		return err
	}
	if p.Outage {
		s.report.add(p.Name, "from the store's return until it has everything", settled.Sub(back).Seconds(), seconds)
	}
	if p.Name == phaseFill {
		s.report.add(p.Name, "until all run and all hosts and the store know all", settled.Sub(before.at).Seconds(), seconds)
		s.report.add(p.Name, "starts, until then", float64(len(s.now.starts))/settled.Sub(before.at).Seconds(), perSec)
	}
	if s.now.refused > 0 {
		s.say("%s: %d starts were refused, one with: %s", p.Name, s.now.refused, s.now.first)
	}
	s.note(p, after.since(before))
	for _, d := range s.cluster.duplicates() {
		s.report.Failures = append(s.report.Failures, p.Name+": "+d)
	}
	return ctx.Err()
}

// play has the events happen, and waits until all have and the phase's time is over.
func (s *simulation) play(ctx context.Context, p phase) {
	began := time.Now()
	var running sync.WaitGroup
	defer running.Wait()
	for _, e := range append(p.Events, event{After: p.Lasts}) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(began.Add(e.After))):
		}
		if p.Name == phaseFill {
			s.keepUp(ctx)
		}
		switch e.Kind {
		case start:
			slot := &slot{started: make(chan struct{})}
			s.mu.Lock()
			s.slots[e.Endpoint] = slot
			s.mu.Unlock()
			running.Go(func() { s.start(ctx, e, slot) })
		case stop:
			s.mu.Lock()
			slot := s.slots[e.Endpoint]
			delete(s.slots, e.Endpoint)
			s.mu.Unlock()
			running.Go(func() { s.stop(ctx, e, slot) })
		case join:
			running.Go(func() { s.fail(s.join(ctx, p.Name, e.Host)) })
		case die:
			running.Go(func() { s.fail(s.die(ctx, p.Name, e.Host)) })
		}
	}
}

// behind is how many changes may be unknown to hosts before fill makes another one, and
// atMost is how long fill waits before it does so all the same: a host may hang.
const (
	behind = 4
	atMost = 500 * time.Millisecond
)

// keepUp waits until hosts know most of what has happened. More than the machine carries
// would only show what an overloaded machine does.
func (s *simulation) keepUp(ctx context.Context) {
	for end := time.Now().Add(atMost); s.cluster.waiting.Load() > behind*int64(s.Hosts) && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(fillEvery):
		}
	}
}

// fail notes an error that ends the run after the phase.
func (s *simulation) fail(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.failed = append(s.now.failed, err)
}

// expect has all living hosts look for a change.
func (s *simulation) expect(e endpoint, k kind) {
	c := &change{kind: k, began: time.Now()}
	var others []*host
	for _, h := range s.cluster.living() {
		if h.name != e.host {
			others = append(others, h)
		}
	}
	c.left = len(others)
	s.mu.Lock()
	s.now.changes = append(s.now.changes, c)
	s.mu.Unlock()
	s.cluster.ledger.runs(e, k == start)
	for _, h := range others {
		h.eyes.expect(&expectation{endpoint: e, stops: k == stop, change: c})
	}
}

// overtaken ends the wait for what was expected of the endpoint before.
func (s *simulation) overtaken(e endpoint) {
	for _, h := range s.cluster.living() {
		h.eyes.overtaken(e)
	}
}

// start starts a container, if its host lives.
func (s *simulation) start(ctx context.Context, e event, slot *slot) {
	defer close(slot.started)
	h, lives := s.cluster.host(e.Host)
	if !lives {
		return
	}
	began, told := time.Now(), false
	ep, err := h.docker.start(ctx, s.cluster.networks[e.Network], fmt.Sprintf("c%d", e.Endpoint), func(ep endpoint) {
		told = true
		s.expect(ep, start)
	})
	if err != nil && told { // nobody need know it
		s.overtaken(ep)
		s.cluster.ledger.runs(ep, false)
		if stopped := h.docker.stop(ctx, ep); stopped != nil {
			s.fail(fmt.Errorf("take back what could not be started: %w", stopped))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.now.refused++
		if s.now.first == "" {
			s.now.first = err.Error()
		}
		return
	}
	slot.endpoint, slot.runs = ep, true
	s.now.starts = append(s.now.starts, time.Since(began))
}

// stop stops a container, if it was started and its host lives.
func (s *simulation) stop(ctx context.Context, e event, slot *slot) {
	<-slot.started
	h, lives := s.cluster.host(e.Host)
	if !slot.runs || !lives {
		return
	}
	s.overtaken(slot.endpoint)
	s.expect(slot.endpoint, stop)
	if err := h.docker.stop(ctx, slot.endpoint); err != nil {
		s.fail(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.stops++
}

// join has a host join, start a container, and learn everything.
func (s *simulation) join(ctx context.Context, phase string, i int) error {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	began := time.Now()
	h, err := s.cluster.add(ctx, i)
	if err != nil {
		return err
	}
	knows := make(chan struct{})
	h.eyes.wish(func(snapshot overlay.Snapshot) bool {
		if s.cluster.ledger.missing(snapshot) != "" {
			return false
		}
		close(knows)
		return true
	})
	err = s.cluster.insist(ctx, func() error {
		_, err := h.docker.start(ctx, s.cluster.networks[everywhere], "joined", func(ep endpoint) { s.expect(ep, start) })
		return err
	})
	if err != nil {
		return err
	}
	claims := time.Since(began)
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s does not learn everything: %w", h.name, ctx.Err())
	case <-knows:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.add(phase, "until the new host has claimed an address and runs a container", claims.Seconds(), seconds)
	s.report.add(phase, "until the new host knows everything", time.Since(began).Seconds(), seconds)
	s.report.add(phase, "bytes from Consul to the new host", float64(h.wire.consulIn.Load()), size)
	s.report.add(phase, "requests of the new host", float64(h.wire.requests.Load()), count)
	return nil
}

// die has a host die, and waits until all others know it.
func (s *simulation) die(ctx context.Context, phase string, i int) error {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	h, lives := s.cluster.host(i)
	if !lives {
		return fmt.Errorf("host %d is dead already", i)
	}
	began := time.Now()
	silent := s.all(h.name, func(snapshot overlay.Snapshot) bool { return snapshot.Silent[h.name] })
	down := s.all(h.name, func(snapshot overlay.Snapshot) bool {
		_, there := snapshot.Hosts[h.name]
		return !there
	})
	if _, err := s.cluster.kill(ctx, i); err != nil {
		return err
	}
	if err := wait(ctx, silent); err != nil {
		return fmt.Errorf("not all hosts see that %s is silent: %w", h.name, err)
	}
	s.report.add(phase, "until the names of the dead host are withdrawn on all hosts", time.Since(began).Seconds(), seconds)
	if !s.Lease {
		return nil
	}
	if err := wait(ctx, down); err != nil {
		return fmt.Errorf("not all hosts see that %s is down: %w", h.name, err)
	}
	s.report.add(phase, "until nothing is sent to the dead host by any host", time.Since(began).Seconds(), seconds)
	return nil
}

// all gives a channel that is closed once the snapshots of all living hosts but one have
// met it.
func (s *simulation) all(but string, met func(overlay.Snapshot) bool) <-chan struct{} {
	var others []*host
	for _, h := range s.cluster.living() {
		if h.name != but {
			others = append(others, h)
		}
	}
	var left atomic.Int64
	left.Store(int64(len(others)))
	done := make(chan struct{})
	for _, h := range others {
		h.eyes.wish(func(snapshot overlay.Snapshot) bool {
			if !met(snapshot) {
				return false
			}
			if left.Add(-1) == 0 {
				close(done)
			}
			return true
		})
	}
	return done
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
		return nil
	}
}

// end notes what is true of the whole run.
func (s *simulation) end() {
	const end = "end"
	hosts := float64(len(s.cluster.living()))
	s.report.add(end, "memory per host: heap and stacks", (float64(heap())-float64(s.empty))/hosts, size)
	s.report.add(end, "goroutines per host", float64(runtime.NumGoroutine())/hosts, count)
	s.report.add(end, "living hosts that were taken for silent", float64(s.cluster.deaths.silent.Load()), count)
	s.report.add(end, "living hosts that were taken for dead", float64(s.cluster.deaths.down.Load()), count)
	s.report.add(end, "addresses that were given or claimed twice", float64(len(s.report.Failures)), count)
}
