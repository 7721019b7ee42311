package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// settings decide what a run does.
type settings struct {
	Hosts     int
	Networks  int
	Endpoints int
	Lasts     time.Duration // all phases that have a length
	Rate      float64       // starts and stops a second
	Loss      float64       // of 100 datagrams
	Seed      uint64
	Patience  time.Duration // for everybody to know everything
	Lease     bool          // wait for the end of a dead host's lease, which takes 20 s
}

// mostInSubnet is how many endpoints one network may have on average: a /24, without what
// hosts keep in stock.
const mostInSubnet = 120

func (s settings) check() error {
	switch {
	case s.Hosts < 3 || s.Hosts > mostHosts:
		return fmt.Errorf("%d hosts cannot be simulated: from 3 to %d", s.Hosts, mostHosts)
	case s.Networks < 3:
		return errors.New("networks must be 3 at least: one of all hosts, one of one host alone, and others")
	case s.Endpoints < s.Hosts+s.Networks:
		return fmt.Errorf("endpoints must be %d at least: each host has one in the first network, and each network has some", s.Hosts+s.Networks)
	case (s.Endpoints-s.Hosts)/(s.Networks-2) > mostInSubnet || s.Hosts > 200:
		return fmt.Errorf("%d endpoints do not fit into %d networks of 256 addresses: give more networks", s.Endpoints, s.Networks)
	case s.Lasts <= 0 || s.Rate <= 0 || s.Loss < 0 || s.Loss >= 100:
		return errors.New("minutes and rate must be above 0, and the loss from 0 to 99")
	}
	return nil
}

// The networks with a meaning: of the others any host may have any.
const (
	everywhere = 0 // all hosts have an endpoint in it at all times
	alone      = 1 // only host 0 has endpoints in it
	anywhere   = 2 // the first of the others
)

// kind is what an event is.
type kind string

const (
	start kind = "start" // of a container with one endpoint
	stop  kind = "stop"
	join  kind = "join" // of a host
	die   kind = "die"  // of a host, without a word
)

// event is one thing that happens, by numbers.
type event struct {
	After    time.Duration // since the phase began
	Kind     kind
	Host     int
	Network  int // start
	Endpoint int // start, stop
}

// phase is a time of which the figures are apart.
type phase struct {
	Name   string
	Lasts  time.Duration
	Outage bool // the store is away all the time
	Events []event
}

// The phases in their order.
const (
	phaseBegin      = "begin" // has no events: all hosts start
	phaseFill       = "fill"
	phaseIdle       = "idle"
	phaseEverywhere = "everywhere"
	phaseAlone      = "alone"
	phaseChurn      = "churn"
	phaseJoin       = "join"
	phaseOutage     = "outage"
	phaseDeath      = "death"
)

// fillEvery is the time between two starts before anything is measured, if the machine
// keeps up.
const fillEvery = 10 * time.Millisecond

// workload is all that happens in a run. It depends on the settings and on nothing else.
func workload(s settings) []phase {
	w := &draw{settings: s, random: rand.New(rand.NewPCG(s.Seed, 0))} //nolint:gosec // a simulation's
	share := func(of float64) time.Duration { return time.Duration(of * float64(s.Lasts)) }
	out := []phase{
		{Name: phaseFill, Events: w.fill()},
		{Name: phaseIdle, Lasts: share(0.2)},
		{Name: phaseEverywhere, Lasts: share(0.15), Events: w.alternate(share(0.15), everywhere)},
		{Name: phaseAlone, Lasts: share(0.15), Events: w.alternate(share(0.15), alone)},
		{Name: phaseChurn, Lasts: share(0.3), Events: w.churn(share(0.3), s.Hosts)},
		{Name: phaseJoin, Lasts: share(0.05), Events: []event{{Kind: join, Host: s.Hosts}}},
		{Name: phaseOutage, Lasts: share(0.1), Outage: true, Events: w.churn(share(0.1), s.Hosts)},
		{Name: phaseDeath, Lasts: share(0.05), Events: []event{{Kind: die, Host: 1 + w.random.IntN(s.Hosts-1)}}},
	}
	return out
}

// draw draws events, and knows what runs after them.
type draw struct {
	settings
	random  *rand.Rand
	next    int     // number of the next endpoint
	most    int     // how many could be stopped after fill
	running []event // starts that can be stopped
}

// started notes and gives the start of a new endpoint.
func (w *draw) started(after time.Duration, host, network int) event {
	e := event{After: after, Kind: start, Host: host, Network: network, Endpoint: w.next}
	w.next++
	return e
}

// fill gives each host an endpoint in the network that is everywhere, and puts the others
// anywhere.
func (w *draw) fill() []event {
	var out []event
	for i := range w.Endpoints {
		after := time.Duration(i) * fillEvery
		if i < w.Hosts {
			out = append(out, w.started(after, i, everywhere))
			continue
		}
		e := w.started(after, w.random.IntN(w.Hosts), anywhere+w.random.IntN(w.Networks-anywhere))
		w.running = append(w.running, e)
		out = append(out, e)
	}
	w.most = len(w.running)
	return out
}

// kept is how many containers alternate has running: each is known everywhere, one hopes,
// when it is stopped.
const kept = 2

// alternate has host 0 start containers in one network, and stop each a while later. In the
// end none of them runs.
func (w *draw) alternate(lasts time.Duration, network int) []event {
	var out, running []event
	times := w.beat(lasts)
	for i, after := range times {
		if left := len(times) - i - 1; len(running) < kept && left > len(running) {
			e := w.started(after, 0, network)
			out, running = append(out, e), append(running, e)
		} else if len(running) > 0 {
			out = append(out, event{After: after, Kind: stop, Host: 0, Endpoint: running[0].Endpoint})
			running = running[1:]
		}
	}
	return out
}

// churn starts and stops containers on any of the hosts, so that about as many run as in
// the beginning.
func (w *draw) churn(lasts time.Duration, hosts int) []event {
	var out []event
	for _, after := range w.beat(lasts) {
		if w.random.IntN(2*w.most) < len(w.running) {
			i := w.random.IntN(len(w.running))
			was := w.running[i]
			w.running[i] = w.running[len(w.running)-1]
			w.running = w.running[:len(w.running)-1]
			out = append(out, event{After: after, Kind: stop, Host: was.Host, Endpoint: was.Endpoint})
			continue
		}
		e := w.started(after, w.random.IntN(hosts), anywhere+w.random.IntN(w.Networks-anywhere))
		w.running = append(w.running, e)
		out = append(out, e)
	}
	return out
}

// beat are the times of events at the rate, each somewhere in its turn.
func (w *draw) beat(lasts time.Duration) []time.Duration {
	every := time.Duration(float64(time.Second) / w.Rate)
	var out []time.Duration
	for at := time.Duration(0); at+every <= lasts; at += every {
		out = append(out, at+time.Duration(w.random.Int64N(int64(every))))
	}
	return out
}
