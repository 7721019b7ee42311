package overlay

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// Bytes that VXLAN adds to an inner packet: outer IP, UDP, VXLAN and inner
// Ethernet headers (RFC 7348 section 5).
const (
	overhead4 = 20 + 8 + 8 + 14
	overhead6 = 40 + 8 + 8 + 14
)

// Overhead gives the bytes that VXLAN adds on an underlay of addr's family.
func Overhead(vtep netip.Addr) int {
	if vtep.Is6() {
		return overhead6
	}
	return overhead4
}

// Room gives the bytes that a packet inside a network may have on h's underlay.
func Room(h Host) int { return h.MTU - Overhead(h.VTEP) }

// Bound is the MTU of a network on a host, and where it comes from.
type Bound struct {
	MTU  int    // bytes that a packet inside the network may have
	Host string // whose underlay is the smallest; "": the network was created with this MTU
}

// MTU gives the bytes that a packet inside the network may have: what the user
// asked for, else what fits the smallest underlay of the hosts that take part.
func MTU(s Snapshot, n Network) int { return BoundOf(s, n).MTU }

// BoundOf is MTU, with the host that bounds it. If several have the same MTU, it is
// this host or else the first by name.
func BoundOf(s Snapshot, n Network) Bound {
	if n.MTU != 0 {
		return Bound{MTU: n.MTU}
	}
	smallest, host := s.Self.MTU, s.Self.Name
	for _, at := range s.Peers[n.ID] {
		h, ok := s.Hosts[at.Host]
		if !ok || h.MTU <= 0 {
			continue
		}
		if h.MTU < smallest || h.MTU == smallest && host != s.Self.Name && h.Name < host {
			smallest, host = h.MTU, h.Name
		}
	}
	return Bound{MTU: smallest - Overhead(s.Self.VTEP), Host: host}
}

// TooNarrow says whether h's underlay cannot carry the MTU that n was created with.
func TooNarrow(h Host, n Network) bool { return n.MTU > 0 && h.MTU > 0 && Room(h) < n.MTU }

// Narrow gives the hosts with the network whose underlay cannot carry the MTU that it
// was created with, sorted by name. Hosts that are down do not count.
func Narrow(s Snapshot, n Network) []Host {
	hosts := []Host{s.Self}
	for _, at := range s.Peers[n.ID] {
		if h, ok := s.Hosts[at.Host]; ok {
			hosts = append(hosts, h)
		}
	}
	hosts = slices.DeleteFunc(hosts, func(h Host) bool { return !TooNarrow(h, n) })
	slices.SortFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return hosts
}

// Bounds are the MTUs of the networks in which this host has endpoints, by id.
type Bounds map[string]Bound

// BoundsOf gives those of s.
func BoundsOf(s Snapshot) Bounds {
	out := Bounds{}
	for _, e := range s.Local {
		if _, known := out[e.Network]; known {
			continue
		}
		if n, ok := s.Networks[e.Network]; ok {
			out[e.Network] = BoundOf(s, n)
		}
	}
	return out
}

// Below gives the ids of the networks whose MTU has become less, sorted.
func (b Bounds) Below(was Bounds) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(b)) {
		if before, known := was[id]; known && b[id].MTU < before.MTU {
			out = append(out, id)
		}
	}
	return out
}
