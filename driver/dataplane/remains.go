package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-net/weft/driver/overlay"
)

// Remains reads what the kernel has of the users' networks, in whatever state.
func (d *Dataplane) Remains() ([]overlay.Remains, error) {
	ids, err := d.Networks()
	if err != nil {
		return nil, err
	}
	var out []overlay.Remains
	for _, id := range ids {
		if path := d.namespacePath(id); !isNamespace(path) {
			continue
		}
		r, err := d.remains(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read what the kernel has of network %s: %w", id, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func (d *Dataplane) remains(id string) (overlay.Remains, error) {
	r := overlay.Remains{ID: id}
	ns, err := netns.GetFromPath(d.namespacePath(id))
	if err != nil {
		return r, err
	}
	defer ns.Close()
	h, err := openHandle(ns)
	if err != nil {
		return r, err
	}
	defer h.close()
	links, err := h.links()
	if err != nil {
		return r, err
	}
	for name, l := range links {
		if overlay.IsPortLink(name) {
			r.Ports = append(r.Ports, name)
		}
		if v, ok := l.(*netlink.Vxlan); ok && name == overlay.VXLAN {
			r.VNI = uint32(v.VxlanId) //nolint:gosec // 24 bits
		}
	}
	entries, err := h.readEntries(links)
	if err != nil {
		return r, err
	}
	for _, e := range entries {
		if e.table == tunnel {
			r.Peers = append(r.Peers, e.addr)
		}
	}
	slices.Sort(r.Ports)
	slices.SortFunc(r.Peers, netip.Addr.Compare)
	r.Peers = slices.Compact(r.Peers)
	return r, nil
}
