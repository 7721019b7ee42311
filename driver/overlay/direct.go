package overlay

import "slices"

// directs are the other hosts of the network that take its packets without a tunnel.
// Such a packet says nothing of its network but its addresses, so there are none where an
// address may be anybody's, or another network's too; nor is there a host whose MAC is
// another one's.
func directs(s Snapshot, n Network) []NIC {
	if n.Unguarded || n.Tunnelled || s.Partial || !s.Self.VTEP.Is4() {
		return nil
	}
	var out []NIC
	for _, at := range s.Peers[n.ID] {
		peer, ok := s.Hosts[at.Host]
		if ok && peer.Direct != (MAC{}) && sameFamily(peer.VTEP, s.Self.VTEP) {
			out = append(out, NIC{VTEP: peer.VTEP, MAC: peer.Direct})
		}
	}
	if len(out) == 0 || shared(s, n) {
		return nil
	}
	has := map[MAC]int{s.Self.Direct: 1}
	for _, h := range s.Hosts {
		has[h.Direct]++
	}
	out = slices.DeleteFunc(out, func(c NIC) bool { return has[c.MAC] > 1 })
	slices.SortFunc(out, func(a, b NIC) int { return a.VTEP.Compare(b.VTEP) })
	return slices.Compact(out)
}

// shared says whether another network has some of n's addresses.
func shared(s Snapshot, n Network) bool {
	for id, other := range s.Networks {
		for _, p := range other.Prefixes() {
			if id != n.ID && slices.ContainsFunc(n.Prefixes(), p.Overlaps) {
				return true
			}
		}
	}
	return false
}
