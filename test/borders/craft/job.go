// Package craft makes the frames of an attack from a seed. It only computes, so who
// has counted a frame can make it anew and say what it was.
package craft

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// Way is how an attacker sends.
type Way string

// The ways.
const (
	Socket  Way = "socket"  // UDP, through the attacker's own kernel, which needs no right
	Segment Way = "segment" // the same; one send of several datagrams (UDP_SEGMENT)
	Wire    Way = "wire"    // whole frames at the underlay, or at a bridge of the host
	Port    Way = "port"    // whole frames at the port of a network
	Theft   Way = "theft"   // nothing but what has tunnels' datagrams taken for answers
)

// Target is where an attack goes: an address, and over the wire the next hop.
type Target struct {
	MAC  MAC        `json:"mac"`
	Addr netip.Addr `json:"addr"`
}

// Station is a container of a network.
type Station struct {
	MAC   MAC        `json:"mac"`
	Addr4 netip.Addr `json:"addr4"`
	Addr6 netip.Addr `json:"addr6"`
}

// Job is one attack: who sends how many shots of which seed where.
type Job struct {
	Way   Way    `json:"way"`
	Row   uint16 `json:"row"` // in every mark
	Seed  uint64 `json:"seed"`
	Count int    `json:"count"`

	// Of Wire and Port.
	Link string `json:"link,omitempty"`
	MAC  MAC    `json:"mac"` // the link's own

	// Of all but Port.
	Targets []Target     `json:"targets,omitempty"`
	Sources []netip.Addr `json:"sources,omitempty"` // none: the kernel's choice
	UDP     uint16       `json:"udp,omitempty"`     // the VXLAN port
	VNI     uint32       `json:"vni,omitempty"`     // of the network under attack
	Victims []MAC        `json:"victims,omitempty"`

	// Of Port.
	Self Station `json:"self"`
	Peer Station `json:"peer"`
}

// Shot is what belongs together: a datagram, whole or in pieces.
type Shot struct {
	Shape  string
	Source netip.Addr // of Socket and Segment, zero if the kernel chooses
	Target netip.Addr
	// Frames in the order in which they are sent; of Socket and Segment UDP payload.
	Frames [][]byte
	// Size of each datagram that the kernel is to cut the only frame into; 0: none.
	Size int
	// Start of the UDP header of a frame that is to be cut.
	Start int
}

// Shot gives the i-th shot. Each shape has its turn, everything else is drawn.
func (j *Job) Shot(i int) Shot {
	d := &draw{Rand: rand.New(rand.NewPCG(j.Seed, uint64(i))), job: j, index: i}
	shapes := j.shapes()
	s := shapes[i%len(shapes)]
	if j.Way != Port {
		d.aim()
	}
	shot := s.make(d)
	shot.Shape = s.name
	shot.Target = d.to
	return shot
}

// Shapes is how many shots have each shape once.
func (j *Job) Shapes() int { return len(j.shapes()) }

// Describe says which shot the i-th is.
func (j *Job) Describe(i int) string {
	s := j.Shot(i)
	if !s.Target.IsValid() {
		return fmt.Sprintf("shot %d of seed %d", i, j.Seed)
	}
	return fmt.Sprintf("shot %d of seed %d, to %s", i, j.Seed, s.Target)
}

// shape is one way to put a datagram into frames.
type shape struct {
	name string
	make func(*draw) Shot
}

func (j *Job) shapes() []shape {
	switch {
	case j.Way == Socket:
		return socketShapes
	case j.Way == Segment:
		return segmentShapes
	case j.Way == Port:
		return portShapes
	case len(j.Targets) > 0 && j.Targets[0].Addr.Is4():
		return shapes4
	}
	return shapes6
}

// draw is what one shot draws from its seed.
type draw struct {
	*rand.Rand
	job      *Job
	index    int
	from, to netip.Addr
	next     MAC
	source   uint16 // port
}

// aim draws source and target.
func (d *draw) aim() {
	t := pick(d, d.job.Targets)
	d.to, d.next = t.Addr, t.MAC
	if len(d.job.Sources) > 0 {
		d.from = pick(d, d.job.Sources)
	}
	// Few ports: each with its addresses is an entry of conntrack.
	d.source = 5000 + uint16(d.IntN(8))
}

func pick[T any](d *draw, of []T) T { return of[d.IntN(len(of))] }

// sometimes is true once in n times.
func (d *draw) sometimes(n int) bool { return d.IntN(n) == 0 }
