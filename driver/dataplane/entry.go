package dataplane

import (
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

// key is what the kernel holds at most once.
func (e entry) key() entry {
	k := entry{table: e.table, mac: e.mac}
	switch {
	case e.table == neighbour:
		k.mac, k.addr = overlay.MAC{}, e.addr
	case e.isFlood():
		k.addr = e.addr
	}
	return k
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

func (e entry) compare(o entry) int {
	return cmp.Or(
		cmp.Compare(e.table, o.table), slices.Compare(e.mac[:], o.mac[:]),
		e.addr.Compare(o.addr), cmp.Compare(e.link, o.link),
	)
}

// minMTU6 is the smallest MTU with which a device takes part in IPv6
// (RFC 8200 section 5); below it the kernel refuses IPv6 neighbours.
const minMTU6 = 1280

// entries gives all rows that n asks for. ports says which ports exist.
func entries(n overlay.NetworkConfig, ports func(overlay.Port) bool) []entry {
	var out []entry
	local := map[overlay.MAC]bool{}
	own := map[netip.Addr]bool{}
	for _, p := range n.Ports {
		if !ports(p) {
			continue
		}
		local[p.MAC] = true
		for _, a := range p.Addrs {
			own[a.Addr()] = true
		}
		out = append(out, entry{table: forward, link: overlay.PortLink(p.Endpoint), mac: p.MAC})
	}
	for _, vtep := range n.Flood {
		out = append(out, entry{table: tunnel, link: overlay.VXLAN, addr: vtep})
	}
	at := map[netip.Addr]overlay.MAC{}
	for _, r := range n.Remotes {
		if local[r.MAC] {
			continue
		}
		out = append(out,
			entry{table: tunnel, link: overlay.VXLAN, mac: r.MAC, addr: r.VTEP},
			entry{table: forward, link: overlay.VXLAN, mac: r.MAC})
		for _, a := range r.Addrs {
			if own[a] || (a.Is6() && n.MTU < minMTU6) {
				continue
			}
			// Two remotes can name one address while the records catch up. A
			// MAC that the user chose can only be an endpoint in use, a derived
			// one may be stock: the former wins, then the lower MAC.
			if have, ok := at[a]; !ok || (have == overlay.MACOf(n.ID, a) && r.MAC != have) {
				at[a] = r.MAC
			}
		}
	}
	for a, mac := range at {
		out = append(out, entry{table: neighbour, link: overlay.Bridge, mac: mac, addr: a})
	}
	slices.SortFunc(out, entry.compare)
	return out
}

// diff gives what must be added to and deleted from have to reach want. An
// entry whose key is wanted with another value is only added: adding replaces.
func diff(want, have []entry) (add, del []entry) {
	wanted := make(map[entry]bool, len(want))
	keys := make(map[entry]bool, len(want))
	for _, e := range want {
		wanted[e], keys[e.key()] = true, true
	}
	held := make(map[entry]bool, len(have))
	for _, e := range have {
		held[e] = true
		if !wanted[e] && !keys[e.key()] {
			del = append(del, e)
		}
	}
	for _, e := range want {
		if !held[e] {
			add = append(add, e)
		}
	}
	return add, del
}

// ntfSticky is NTF_STICKY of linux/neighbour.h: the entry stays at its port
// even if another port sends with its MAC.
const ntfSticky = 0x40
