package probe

import (
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// Path is how packets fare from one host to another.
type Path struct {
	From, To string
	// Unknown is why nothing is known, in a few words; "": the other fields hold.
	Unknown string

	Reached bool // some packets come
	Full    bool // packets of MTU bytes come
	Harmed  bool // packets come damaged, or those with a UDP checksum do not come
	MTU     int  // bytes, the largest that a network of both hosts has; 0 if not Reached
	Largest int  // bytes of the largest packet that came whole
}

// Well says whether nothing is known to be wrong.
func (p Path) Well() bool { return p.Unknown != "" || p.Reached && p.Full && !p.Harmed }

// together is how long two hosts must both have taken part before one can say that
// nothing comes from the other.
const together = 2 * time.Second

// Member is a host with what is known of its liveness.
type Member struct {
	overlay.Host
	Live bool
}

// judge judges the path between two hosts by what they say. The judgement is not
// final if more may come.
func judge(from, to Member, rows map[string]arrival) (p Path, final bool) {
	p = Path{From: from.Name, To: to.Name}
	for _, m := range []Member{from, to} {
		if !m.Live {
			p.Unknown = fmt.Sprintf("host %s is down", m.Name)
			return p, true
		}
	}
	if from.VTEP.Is4() != to.VTEP.Is4() {
		p.Unknown = fmt.Sprintf("the underlay of %s and that of %s are not both IPv4 or IPv6", from.Name, to.Name)
		return p, true
	}
	for _, m := range []Member{from, to} {
		if _, has := rows[m.Name]; !has {
			p.Unknown = fmt.Sprintf("host %s did not answer: its weft does not run or is of an older version, or neither the tunnels nor the store bring its answer", m.Name)
			return p, false
		}
	}
	a, b := rows[from.Name], rows[to.Name]
	h := b.Heard[from.Name]
	p.Reached, p.Full, p.Harmed, p.MTU, p.Largest = h.some(), h.Full.some(), h.harmed(), h.MTU, h.Largest
	if h.well() {
		return p, true
	}
	if b.at.Sub(a.at.Add(-a.Up)) < together || b.Up < together {
		p.Unknown = fmt.Sprintf("hosts %s and %s did not take part for long enough at the same time", from.Name, to.Name)
		return p, false
	}
	return p, !p.Reached || p.Full || h.Final
}
