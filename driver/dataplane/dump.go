package dataplane

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// readEntries reads back the three tables of a network's namespace. What the
// kernel keeps there for itself (learned and its own addresses) is left out.
func (h *handle) readEntries(links map[string]netlink.Link) ([]entry, error) {
	names := make(map[int]string, len(links))
	for name, l := range links {
		names[l.Attrs().Index] = name
	}
	var out []entry
	fdb, err := dump(func() ([]netlink.Neigh, error) {
		return h.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE})
	})
	if err != nil {
		return nil, fmt.Errorf("list forwarding entries: %w", err)
	}
	for _, n := range fdb {
		// What is forwarded belongs to no VLAN. A kernel whose bridges can filter VLANs has
		// each entry of the bridge in VLAN 1 as well, adds and removes both as one, and
		// never looks at the second.
		if len(n.HardwareAddr) != 6 || n.Vlan != 0 {
			continue
		}
		e := entry{link: names[n.LinkIndex], mac: overlay.MAC(n.HardwareAddr)}
		switch {
		case n.MasterIndex != 0 && n.Flags&unix.NTF_SELF == 0:
			if n.State&unix.NUD_NOARP == 0 {
				continue // learned, or a device's own address
			}
			e.table = forward
			e.odd = n.Flags&ntfSticky == 0
		case e.link == overlay.VXLAN && n.Flags&unix.NTF_SELF != 0:
			addr, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			e.table, e.addr = tunnel, addr.Unmap()
			e.odd = n.State&unix.NUD_PERMANENT == 0 || n.VNI != 0
		default:
			continue
		}
		out = append(out, e)
	}
	br, ok := links[overlay.Bridge]
	if !ok {
		sortEntries(out)
		return out, nil
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := dump(func() ([]netlink.Neigh, error) { return h.NeighList(br.Attrs().Index, family) })
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range list {
			addr, ok := netip.AddrFromSlice(n.IP)
			if !ok || n.State != unix.NUD_PERMANENT || len(n.HardwareAddr) != 6 {
				continue
			}
			out = append(out, entry{table: neighbour, link: overlay.Bridge, mac: overlay.MAC(n.HardwareAddr), addr: addr.Unmap()})
		}
	}
	sortEntries(out)
	return out, nil
}
