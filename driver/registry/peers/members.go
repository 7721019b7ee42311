package peers

import (
	"cmp"
	"slices"

	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
)

// hears says whether the host has a part in direct messages. A host that was declared
// dead, or leaves, has none from the mark on.
func (p Peer) hears() bool { return p.Push.IsValid() && !p.marked }

// Receivers are the other hosts that hear direct messages, sorted by name, with what is
// known of their keys.
func (p *Peers) Receivers(ring keys.Ring) []overlay.Host {
	out := make([]overlay.Host, 0, len(p.hosts))
	for _, host := range p.hosts {
		if host.hears() {
			out = append(out, p.receiver(host, ring))
		}
	}
	slices.SortFunc(out, func(a, b overlay.Host) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Receiver is the other host if it hears direct messages and may send them.
func (p *Peers) Receiver(name string, ring keys.Ring) (overlay.Host, bool) {
	host, known := p.hosts[name]
	return p.receiver(host, ring), known && host.hears()
}

// receiver is the host with what is known of its keys.
func (p *Peers) receiver(host Peer, ring keys.Ring) overlay.Host {
	out := host.Host
	if l := p.linkOf(out.Name); l != nil && l.key != "" && len(ring.Keys) > 1 {
		out.Keys = ring.Heard(out.Keys, l.key)
	}
	return out
}

// Members are the hosts that hear direct messages, as a change of keys goes by them.
func (p *Peers) Members(ring keys.Ring) []keys.Member {
	var out []keys.Member
	for name, host := range p.hosts {
		if host.hears() {
			alive := host.Live || host.Veto.Held || p.Hears(name) || !host.Down && !host.Resting
			out = append(out, keys.Member{Name: name, Keys: p.receiver(host, ring).Keys, Alive: alive})
		}
	}
	return out
}
