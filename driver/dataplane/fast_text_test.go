package dataplane_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// fast says whether the host ought to have the fast path.
func (h *host) fast() bool {
	return *fastPath != "off" && h.cfg.VTEP == vtep(h.n) && h.cfg.Networks != nil
}

func (h *host) fastState() dataplane.FastState {
	h.tb.Helper()
	s, err := h.dp.FastState()
	if err != nil {
		h.tb.Fatal(err)
	}
	return s
}

// wantFast writes what the fast path ought to have of a network.
func (h *host) wantFast(n overlay.NetworkConfig, say func(string, ...any)) {
	say("%s: fp0 up", n.ID)
	say("%s: fp0 weft_to_port", n.ID)
	say("%s: vx0 weft_from_tunnel", n.ID)
	say("%s up", overlay.FastOuter(n.ID))
	say("%s weft_to_wire", overlay.FastOuter(n.ID))
	for _, p := range n.Ports {
		if p.Keep {
			continue
		}
		say("%s: %s weft_from_port", n.ID, overlay.PortLink(p.Endpoint))
		if h.arrived(n.ID, p) {
			say("fast %d: %s at %s", n.VNI, p.MAC, overlay.PortLink(p.Endpoint))
		}
		var addrs []string
		for _, a := range p.Addrs {
			addrs = append(addrs, a.Addr().String())
		}
		say("fast %d: port %s sends from %s %s", n.VNI, overlay.PortLink(p.Endpoint), p.MAC, strings.Join(addrs, " "))
	}
	for _, r := range n.Remotes {
		say("fast %d: %s behind %s", n.VNI, r.MAC, r.VTEP)
	}
	for _, m := range n.Members {
		say("fast %d: member %s", n.VNI, m)
	}
}

// arrived says whether the container's end of the port is up.
func (h *host) arrived(network string, p overlay.Port) (up bool) {
	h.netlink(network, func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(overlay.PortLink(p.Endpoint))
		up = err == nil && l.Attrs().OperState == netlink.OperUp
		return nil
	})
	return up
}

// fastText writes what the kernel has of it.
func (h *host) fastText(say func(string, ...any)) {
	var all []*ebpf.Program
	ports := map[[2]uint32]string{} // links' names by VNI and index
	files, err := os.ReadDir(h.dir)
	if err != nil {
		h.tb.Fatal(err)
	}
	for _, f := range files {
		id := strings.TrimPrefix(f.Name(), "weft-")
		h.netlink(id, func(nl *netlink.Handle) error {
			links, err := whole(nl.LinkList)
			var vni uint32
			for _, l := range links {
				if v, ok := l.(*netlink.Vxlan); ok {
					vni = uint32(v.VxlanId)
				}
			}
			for _, l := range links {
				ports[[2]uint32{vni, uint32(l.Attrs().Index)}] = l.Attrs().Name
			}
			return err
		})
		netns.In(h.tb, h.path(id), func(ns *netns.NS) { all = append(all, programs(ns, id+": ", say)...) })
	}
	all = append(all, programs(h.ns, "", say)...)
	seen := map[ebpf.MapID]bool{}
	for _, p := range all {
		info, err := p.Info()
		if err != nil {
			h.tb.Fatal(err)
		}
		ids, _ := info.MapIDs()
		for _, id := range ids {
			if !seen[id] {
				h.fastTable(id, ports, say)
			}
			seen[id] = true
		}
		p.Close()
	}
}

// programs writes weft's programs in a namespace, but that at eth0, which is there
// whatever networks there are, and gives them.
func programs(ns *netns.NS, prefix string, say func(string, ...any)) (out []*ebpf.Program) {
	var links []netlink.Link
	ns.Netlink(func(nl *netlink.Handle) (err error) {
		links, err = whole(nl.LinkList)
		return err
	})
	ns.Do(func() error {
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, "wf") {
				say("%s%s up", prefix, l.Attrs().Name)
			}
			for _, id := range programsAt(l) {
				p, err := ebpf.NewProgramFromID(id)
				if err != nil {
					return err
				}
				info, err := p.Info()
				if err != nil {
					return err
				}
				if l.Attrs().Name != "eth0" {
					say("%s%s %s", prefix, l.Attrs().Name, info.Name)
				}
				out = append(out, p)
			}
		}
		return nil
	})
	return out
}

// programsAt are the programs that see what comes in by a link of the thread's
// namespace, by tcx or as filters.
func programsAt(l netlink.Link) (out []ebpf.ProgramID) {
	if all, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress}); err == nil {
		for _, a := range all.Programs {
			out = append(out, a.ID)
		}
	}
	filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return out // the link has just gone
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok {
			out = append(out, ebpf.ProgramID(b.Id))
		}
	}
	return out
}

// fastTable writes one table of the programs.
func (h *host) fastTable(id ebpf.MapID, ports map[[2]uint32]string, say func(string, ...any)) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		h.tb.Fatal(err)
	}
	word := binary.NativeEndian.Uint32
	addr := func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)).Unmap() }
	tell := map[string]func(vni uint32, k, v []byte){
		"weft_places": func(vni uint32, k, v []byte) {
			if index := word(v); index != 0 {
				say("fast %d: %s at %s", vni, overlay.MAC(k[:6]), ports[[2]uint32{vni, index}])
			} else {
				say("fast %d: %s behind %s", vni, overlay.MAC(k[:6]), addr(v[8:]))
			}
		},
		"weft_members": func(vni uint32, k, _ []byte) { say("fast %d: member %s", vni, addr(k[:16])) },
		"weft_ports": func(vni uint32, k, v []byte) {
			text := ""
			if four := netip.AddrFrom4([4]byte(v[8:])); !four.IsUnspecified() {
				text += " " + four.String()
			}
			if six := netip.AddrFrom16([16]byte(v[12:])); !six.IsUnspecified() {
				text += " " + six.String()
			}
			say("fast %d: port %s sends from %s%s", vni, ports[[2]uint32{vni, word(k)}], overlay.MAC(v[:6]), text)
		},
	}[info.Name]
	if tell == nil {
		return
	}
	k, v := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	for i := m.Iterate(); i.Next(&k, &v); {
		tell(word(k), k[4:], v)
	}
}
