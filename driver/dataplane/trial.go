package dataplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// TryPort opens a tunnel's socket on the UDP port of the host for a moment, as a
// network would, and says why it cannot.
func (i *Inspector) TryPort(ctx context.Context, local netip.Addr, port uint16) error {
	return scratch(ctx, func(ns netns.NsHandle, h *handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Namespace = "trial", netlink.NsFd(int(ns))
		v := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: overlay.TrialVNI, Port: int(port), UDPCSum: true}
		if local.IsValid() {
			v.SrcAddr = local.AsSlice()
		}
		if err := i.host.LinkAdd(v); err != nil {
			return fmt.Errorf("make a VXLAN device: %w", err)
		}
		l, err := h.LinkByName(attrs.Name)
		if err != nil {
			return fmt.Errorf("read the VXLAN device: %w", err)
		}
		defer func() { _ = h.LinkDel(l) }() // the namespace takes it along otherwise, only later
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("open UDP port %d: %w", port, err)
		}
		return nil
	})
}

// ForeignTunnel is a VXLAN device in the host's namespace, where weft has none.
type ForeignTunnel struct {
	Link string
	VNI  uint32
}

// ForeignTunnels lists the VXLAN devices of the host's namespace on the UDP port.
func (i *Inspector) ForeignTunnels(port uint16) ([]ForeignTunnel, error) {
	links, err := i.host.links()
	if err != nil {
		return nil, err
	}
	var out []ForeignTunnel
	for name, l := range links {
		if v, ok := l.(*netlink.Vxlan); ok && v.Port == int(port) {
			out = append(out, ForeignTunnel{name, uint32(v.VxlanId)})
		}
	}
	return out, nil
}

// Socket is a socket in the host's namespace.
type Socket struct {
	Addr  netip.AddrPort
	Inode uint32
}

// UDPSockets lists the sockets on the UDP port. That of a tunnel is among them,
// but belongs to no program.
func (i *Inspector) UDPSockets(port uint16) ([]Socket, error) {
	var out []Socket
	err := visit(i.hostNS, func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			list, err := netlink.SocketDiagUDP(family)
			if err != nil {
				return fmt.Errorf("list UDP sockets: %w", err)
			}
			for _, s := range list {
				addr, ok := netip.AddrFromSlice(s.ID.Source)
				if ok && s.ID.SourcePort == port {
					out = append(out, Socket{netip.AddrPortFrom(addr.Unmap(), port), s.INode})
				}
			}
		}
		return nil
	})
	return out, err
}

// Lack is something weft needs that this kernel cannot do.
type Lack struct {
	What   string // as in "VXLAN devices"
	Option string // of the kernel's configuration
	Module string // that has it
	Minor  bool   // weft goes without it
	Err    error
}

// Lacks tries, in a namespace of its own, all that weft asks of a kernel.
func (i *Inspector) Lacks(ctx context.Context) ([]Lack, error) {
	var out []Lack
	err := scratch(ctx, func(ns netns.NsHandle, h *handle) error {
		try := func(what, option, module string, f func() error) bool {
			err := f()
			if err != nil {
				out = append(out, Lack{What: what, Option: option, Module: module, Err: err})
			}
			return err == nil
		}
		attrs := func(name string) netlink.LinkAttrs {
			a := netlink.NewLinkAttrs()
			a.Name = name
			return a
		}
		bridge := try("bridges", "CONFIG_BRIDGE", "bridge", func() error {
			return h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("br")})
		})
		tunnel := try("VXLAN devices", "CONFIG_VXLAN", "vxlan", func() error {
			return h.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs("vx"), VxlanId: 1, Port: 4789, SrcAddr: net.IPv4(192, 0, 2, 1), UDPCSum: true})
		})
		veth := try("veth pairs", "CONFIG_VETH", "veth", func() error {
			v := netlink.NewVeth(attrs("a"))
			v.PeerName = "b"
			return h.LinkAdd(v)
		})
		if bridge && tunnel {
			try("suppression of ARP by bridges (Linux 4.15)", "CONFIG_BRIDGE", "bridge", func() error { return tryPort(h) })
		}
		inet := try("nftables", "CONFIG_NF_TABLES_INET", "nf_tables", func() error { return tryBorder(ns) })
		netdev := inet && veth && try("nftables on the ingress of links", "CONFIG_NF_TABLES_NETDEV", "nf_tables", func() error { return tryNetdev(ns) })
		if netdev && !try("nftables' reject on the ingress of links (Linux 5.9)", "CONFIG_NFT_REJECT_NETDEV", "nft_reject_netdev", func() error { return tryRefusal(ns, "a") }) {
			out[len(out)-1].Minor = true
		}
		return nil
	})
	return out, err
}

// tryPort makes the tunnel a port of the bridge with the flags that weft sets.
func tryPort(h *handle) error {
	links, err := h.links()
	if err != nil {
		return err
	}
	if err := h.LinkSetMasterByIndex(links["vx"], links["br"].Attrs().Index); err != nil {
		return err
	}
	want := portFlags{flood: true, suppress: true}
	index := links["vx"].Attrs().Index
	if err := h.setBridgePort(index, want); err != nil {
		return err
	}
	have, err := h.bridgePorts()
	if err == nil && have[index] != want { // old kernels pass over what they do not know
		err = unix.EOPNOTSUPP
	}
	return err
}

// tryBorder makes a border.
func tryBorder(ns netns.NsHandle) error {
	c, part, err := connect(ns)
	if err != nil {
		return err
	}
	defer part()
	b := borderOf(overlay.Config{Port: 4789, Networks: []overlay.NetworkConfig{{VNI: 1, Members: []netip.Addr{
		netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.MustParseAddr("2001:db8::1"),
	}}}})
	_, err = newBorderTable(b).create(c, b)
	return err
}

// tryNetdev makes a chain that guards a port.
func tryNetdev(ns netns.NsHandle) error {
	c, part, err := connect(ns)
	if err != nil {
		return err
	}
	defer part()
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: ownTable})
	ch := c.AddChain(&nftables.Chain{
		Table: table, Name: "a", Type: nftables.ChainTypeFilter, Device: "a",
		Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
	})
	addRules(c, table, ch, []rule{{dropped, []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop)}}})
	return c.Flush()
}

// newNamespace makes a network namespace that lives as long as its handle.
func newNamespace() (netns.NsHandle, error) {
	ns := netns.None()
	err := elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		ns, err = netns.Get()
		return err
	})
	return ns, err
}
