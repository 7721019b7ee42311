package direct

import "time"

// State is how far a pair of hosts has come in one network, as one of the two sees it:
//
//	Tunnel ──after a rest──> Probing ──Enough answers──> Direct
//	   ^────Missed probes───────┘                           │
//	   └────Missed probes───────────────────────────────────┘
type State string

// The states of a pair.
const (
	Tunnel  State = "tunnel"  // no probe is sent for a while
	Probing State = "probing" // packets go through the tunnel, and probes go directly
	Direct  State = "direct"  // packets and probes go directly
)

// A probe is sent every Every.
const (
	Every  = time.Second
	Enough = 3 // answers in a row, until packets go directly
	Missed = 3 // probes in a row, until they go through the tunnel
)

// Lease is how long packets go directly after the answer to a probe was seen. It is
// shorter than Missed probes take: the kernel ends it by itself if nobody decides.
const Lease = 2500 * time.Millisecond

// A pair that has failed rests: for the first time at least, then twice as long each
// time, up to most. After it was well for long it begins anew.
const (
	leastRest = 10 * time.Second
	mostRest  = 5 * time.Minute
	wellFor   = 10 * time.Minute
)

// Pair is one. The zero Pair is one of which nothing is known yet; it may be probed.
type Pair struct {
	State State
	Since time.Time // of State

	row   int       // answers in a row while Probing
	lost  int       // probes in a row without an answer
	fails int       // how often it has failed since it was well
	until time.Time // of a rest
}

// Probes says whether a probe is to be sent now.
func (p Pair) Probes(now time.Time) bool {
	return p.State == Probing || p.State == Direct || !now.Before(p.until)
}

// Next is the pair after one look. probed says that a probe was sent since the last one,
// answered that it was answered.
func (p Pair) Next(now time.Time, probed, answered bool) Pair {
	if p.State == "" {
		p.State, p.Since = Tunnel, now
	}
	if p.State == Tunnel && probed {
		p = p.turn(Probing, now)
	}
	switch {
	case !probed:
		return p
	case answered:
		p.row, p.lost = p.row+1, 0
	default:
		p.row, p.lost = 0, p.lost+1
	}
	switch {
	case p.lost >= Missed:
		rest := leastRest
		for range p.fails {
			rest = min(2*rest, mostRest)
		}
		p = p.turn(Tunnel, now)
		p.fails, p.until = p.fails+1, now.Add(rest)
	case p.State == Probing && p.row >= Enough:
		p = p.turn(Direct, now)
	case p.State == Direct && now.Sub(p.Since) >= wellFor:
		p.fails = 0
	}
	return p
}

func (p Pair) turn(s State, now time.Time) Pair {
	return Pair{State: s, Since: now, fails: p.fails}
}
