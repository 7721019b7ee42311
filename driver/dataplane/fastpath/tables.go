package fastpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weft-net/weft/driver/overlay"
)

// Network is what the programs know of one network, and all of it.
type Network struct {
	VNI     uint32
	Inner   int // index of the network's end of its pair, in its namespace
	Outer   int // of the host's end, in the host's namespace
	Tunnel  int // of the VXLAN device, in the network's namespace
	Ports   []Port
	Places  []Place
	Members []netip.Addr // VTEPs whose packets are accepted

	// What is known for packets without a tunnel. An address that two networks have is in
	// neither of them.
	Homes []Home
	NICs  []NIC
}

// Port is a link at which a container sends.
type Port struct {
	Link  int // index in the network's namespace
	MTU   int // bytes
	MAC   overlay.MAC
	Addrs []netip.Addr // one of each family at most
	Told  bool         // other hosts know of its addresses, so it may send without a tunnel
}

// Place says where a MAC is.
type Place struct {
	MAC  overlay.MAC
	Link int        // of its port; 0: it is at VTEP
	VTEP netip.Addr // of the other host that has it
}

// Home says where an address is.
type Home struct {
	Addr netip.Addr
	MAC  overlay.MAC
	Here bool       // this host has it
	Link int        // index of its port; 0 here: no port has it, and the bridge sees to it
	VTEP netip.Addr // of the other host that has it
}

// NIC is a MAC from which a member of the network sends without a tunnel.
type NIC struct {
	MAC  overlay.MAC
	VTEP netip.Addr
}

// tables are the entries of one network in the kernel.
type tables struct {
	ports   map[programsPortKey]programsPort
	places  map[programsMacKey]programsPlace
	members map[programsMemberKey]uint8
	homes   map[programsAddr]programsHome
	nics    map[programsMacKey]programsAddr
}

func (n Network) tables() tables {
	t := tables{
		map[programsPortKey]programsPort{},
		map[programsMacKey]programsPlace{},
		map[programsMemberKey]uint8{},
		map[programsAddr]programsHome{},
		map[programsMacKey]programsAddr{},
	}
	for _, p := range n.Ports {
		v := programsPort{Mac: p.MAC, Mtu: uint16(min(p.MTU, 1<<16-1))} //nolint:gosec // bounded
		for _, a := range p.Addrs {
			if w := words(a); a.Is4() {
				v.Ip4 = w[3]
			} else {
				v.Ip6 = w
			}
		}
		if p.Told {
			v.Told = 1
		}
		t.ports[programsPortKey{Vni: n.VNI, Link: uint32(p.Link)}] = v //nolint:gosec // an index
	}
	for _, p := range n.Places {
		v := programsPlace{Link: uint32(p.Link), Outer: uint32(n.Outer)} //nolint:gosec // indices
		if p.Link == 0 {
			v.Vtep.Word = words(p.VTEP)
		}
		t.places[programsMacKey{Vni: n.VNI, Mac: p.MAC}] = v
	}
	for _, a := range n.Members {
		k := programsMemberKey{Vni: n.VNI}
		k.Vtep.Word = words(a)
		t.members[k] = 1
	}
	for _, h := range n.Homes {
		t.homes[programsAddr{Word: words(h.Addr)}] = n.home(h)
	}
	for _, c := range n.NICs {
		t.nics[programsMacKey{Vni: n.VNI, Mac: c.MAC}] = programsAddr{Word: words(c.VTEP)}
	}
	return t
}

func (n Network) home(h Home) programsHome {
	v := programsHome{Vni: n.VNI, Mac: h.MAC}
	switch {
	case !h.Here:
		v.Vtep.Word = words(h.VTEP)
	case h.Link == 0:
		v.Outer, v.Link, v.Bridged = uint32(n.Outer), uint32(n.Tunnel), 1 //nolint:gosec // indices
	default:
		v.Outer, v.Link = uint32(n.Outer), uint32(h.Link) //nolint:gosec // indices
	}
	return v
}

// words are an address as the programs compare it: IPv4 mapped into IPv6 (RFC 4291
// section 2.5.5.2), in the order of the wire.
func words(a netip.Addr) (out [4]uint32) {
	b := a.As16()
	for i := range out {
		out[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return out
}

// bigEndian16 is a number as it is on the wire.
func bigEndian16(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// reach brings a table of the kernel from have to want. What is wrong goes before what
// is missing comes.
func reach[K comparable, V comparable](m *ebpf.Map, want, have map[K]V) error {
	var gone, keys []K
	var values []V
	for k := range have {
		if _, ok := want[k]; !ok {
			gone = append(gone, k)
		}
	}
	for k, v := range want {
		if was, ok := have[k]; !ok || was != v {
			keys, values = append(keys, k), append(values, v)
		}
	}
	for _, k := range gone {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete from table %s of the fast path: %w", name(m), err)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if _, err := m.BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("add to table %s of the fast path: %w", name(m), err)
	}
	return nil
}

func name(m *ebpf.Map) string {
	if info, err := m.Info(); err == nil {
		return info.Name
	}
	return m.String()
}
