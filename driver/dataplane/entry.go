package dataplane

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// table says which of the kernel's three tables an entry belongs to.
type table uint8

const (
	tunnel    table = iota // VXLAN FDB: MAC, or all zeros for flooding, to VTEP
	forward                // bridge FDB: MAC to bridge port
	neighbour              // neighbours of the bridge: address to MAC, from which it answers ARP and ND
)

// entry is one row of a table. Comparable, so sets of them can be compared.
type entry struct {
	table table
	link  string
	mac   overlay.MAC
	addr  netip.Addr // the VTEP of a tunnel entry, the address of a neighbour
	odd   bool       // read back with flags that weft never sets: must be replaced
}

// isFlood says whether the entry is a destination for what has no entry.
func (e entry) isFlood() bool { return e.table == tunnel && e.mac == overlay.MAC{} }

// byKey orders entries by what the kernel holds at most once: entries of which
// one would replace the other are equal.
func byKey(a, b entry) int {
	if a.table != b.table {
		return cmp.Compare(a.table, b.table)
	}
	if a.table == neighbour {
		return a.addr.Compare(b.addr)
	}
	if c := bytes.Compare(a.mac[:], b.mac[:]); c != 0 || !a.isFlood() {
		return c
	}
	return a.addr.Compare(b.addr)
}

// sortEntries sorts by key; what comes from entries mostly is so already.
func sortEntries(list []entry) {
	if !slices.IsSortedFunc(list, byKey) {
		slices.SortStableFunc(list, byKey)
	}
}

// String names the entry for people: "fdb entry …", "neighbour …".
func (e entry) String() string {
	switch {
	case e.isFlood():
		return fmt.Sprintf("flood entry to %s", e.addr)
	case e.table == tunnel:
		return fmt.Sprintf("fdb entry %s at host %s", e.mac, e.addr)
	case e.table == forward:
		return fmt.Sprintf("bridge fdb entry %s at %s", e.mac, e.link)
	default:
		return fmt.Sprintf("neighbour %s at %s", e.addr, e.mac)
	}
}

// minMTU6 is the smallest MTU with which a device takes part in IPv6
// (RFC 8200 section 5); below it the kernel refuses IPv6 neighbours.
const minMTU6 = 1280

func neighbourable(n overlay.NetworkConfig, a netip.Addr) bool { return a.Is4() || n.MTU >= minMTU6 }

// isGone says whether no container has the address, which this host holds.
func isGone(n overlay.NetworkConfig, a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(n.Gone, a, netip.Addr.Compare)
	return found
}

// entries gives all rows that n asks for, sorted by key. ports says which ports
// exist.
func entries(n overlay.NetworkConfig, ports func(overlay.Port) bool) []entry {
	var forwards, neighbours []entry
	local := map[overlay.MAC]bool{}
	own := map[netip.Addr]bool{}
	var gone []overlay.MAC
	for _, p := range n.Ports {
		if p.Keep && slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool { return isGone(n, a.Addr()) }) {
			gone = append(gone, p.MAC)
			continue
		}
		if !ports(p) {
			continue
		}
		local[p.MAC] = true
		for _, a := range p.Addrs {
			own[a.Addr()] = true
		}
		forwards = append(forwards, entry{table: forward, link: overlay.PortLink(p.Endpoint), mac: p.MAC})
	}
	for _, a := range n.Gone {
		mac := overlay.MACOf(n.ID, a)
		gone = append(gone, mac)
		if !own[a] && neighbourable(n, a) {
			neighbours = append(neighbours, entry{table: neighbour, link: overlay.Bridge, mac: mac, addr: a})
		}
	}
	for _, mac := range gone { // what somebody has is never refused
		_, remote := slices.BinarySearchFunc(n.Remotes, mac, func(r overlay.Remote, m overlay.MAC) int { return bytes.Compare(r.MAC[:], m[:]) })
		if !local[mac] && !remote {
			local[mac] = true
			forwards = append(forwards, entry{table: forward, link: overlay.RefusePort, mac: mac})
		}
	}
	out := make([]entry, 0, 3*len(n.Remotes)+len(n.Flood)+len(n.Ports))
	for _, vtep := range n.Flood {
		out = append(out, entry{table: tunnel, link: overlay.VXLAN, addr: vtep})
	}
	for _, r := range n.Remotes {
		if local[r.MAC] {
			continue
		}
		out = append(out, entry{table: tunnel, link: overlay.VXLAN, mac: r.MAC, addr: r.VTEP})
		forwards = append(forwards, entry{table: forward, link: overlay.VXLAN, mac: r.MAC})
		for _, a := range r.Addrs {
			if !own[a] && neighbourable(n, a) {
				neighbours = append(neighbours, entry{table: neighbour, link: overlay.Bridge, mac: r.MAC, addr: a})
			}
		}
	}
	sortEntries(neighbours)
	// Two remotes can name one address while the records catch up. A MAC that
	// the user chose can only be an endpoint in use, a derived one may be stock:
	// the former wins, then the lower MAC, which comes first.
	winners := neighbours[:0]
	for _, e := range neighbours {
		last := len(winners) - 1
		if last < 0 || winners[last].addr != e.addr {
			winners = append(winners, e)
		} else if winners[last].mac == overlay.MACOf(n.ID, e.addr) {
			winners[last] = e
		}
	}
	out = slices.Concat(out, forwards, winners)
	sortEntries(out)
	return out
}

// diff gives what must be added to and deleted from have to reach want, both
// sorted by key. An entry whose key is wanted with another value is only added:
// adding replaces.
func diff(want, have []entry) (add, del []entry) {
	for len(want) > 0 || len(have) > 0 {
		order := -1
		switch {
		case len(want) == 0:
			order = 1
		case len(have) > 0:
			order = byKey(want[0], have[0])
		}
		switch {
		case order > 0:
			del, have = append(del, have[0]), have[1:]
			continue
		case order < 0:
			add = append(add, want[0])
		default:
			same := have[0] == want[0]
			for have = have[1:]; len(have) > 0 && byKey(want[0], have[0]) == 0; have = have[1:] {
				same = false // the kernel has the key twice, as with two destinations
			}
			if !same {
				add = append(add, want[0])
			}
		}
		want = want[1:]
	}
	return add, del
}

// ntfSticky is NTF_STICKY of linux/neighbour.h: the entry stays at its port
// even if another port sends with its MAC.
const ntfSticky = 0x40
