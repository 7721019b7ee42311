package fastpath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// The model says in words of its own what the slow way lets pass: the guards of the
// ports, the bridge, the border, the VXLAN device and the host's stack. It reads whole
// frames and the networks as SetNetwork was told of them, and shares nothing with the
// programs.
type model struct {
	host     Host
	networks []Network
	hooked   uint32      // VNI of the network whose port and tunnel are looked at
	leased   overlay.MAC // its packets to otherVTEP go there directly
}

// Rules that a packet can break. Of the tame ones nobody has anything, see tame.
const (
	noSuchKind   = "not TCP or UDP over IP in one piece"
	notItsOwn    = "not from the port's own MAC and address"
	nowhere      = "to a MAC that is nowhere, or at another host"
	serversOnly  = "perhaps the answer of a DHCP server"
	tooLarge     = "larger than the network takes"
	severalInOne = "several packets in one, from a tunnel"
	notForUs     = "not to this host's VTEP and port"
	notATunnel   = "not a VXLAN packet in one piece"
	lies         = "its lengths are not its length"
	noMember     = "from who is no member of the network"
	congested    = "met congestion on its way"
	notTogether  = "its source, destination, network and host do not belong together"
	routed       = "a router has passed it on, or may have"
	forWeft      = "a probe, or like one"

	toItself     = "a container to itself, which no bridge sends back"
	badChecksum  = "an outer checksum is wrong, which the stack would see"
	reservedBits = "bits after the VNI that receivers are to ignore (RFC 7348 section 5), and Linux does not"
	noStation    = "its source MAC is no station's"
	beyondMTU    = "a member sends more than the network's MTU"
)

// tame are rules by which the slow way drops what the programs carry: only who could send
// the same packet in order gets it through, to whom he could send that one.
var tame = []string{toItself, badChecksum, reservedBits, noStation, beyondMTU}

// packet is what the model sees of a frame within a network.
type packet struct {
	from, to overlay.MAC
	kind     uint16 // EtherType
	rest     []byte // behind the Ethernet header
}

func parse(f []byte) packet {
	return packet{to: overlay.MAC(f[:6]), from: overlay.MAC(f[6:12]), kind: binary.BigEndian.Uint16(f[12:]), rest: f[14:]}
}

func (m model) network(vni uint32) *Network {
	i := slices.IndexFunc(m.networks, func(n Network) bool { return n.VNI == vni })
	if i < 0 {
		return nil
	}
	return &m.networks[i]
}

func (n *Network) place(mac overlay.MAC) *Place {
	i := slices.IndexFunc(n.Places, func(p Place) bool { return p.MAC == mac })
	if i < 0 {
		return nil
	}
	return &n.Places[i]
}

// payload finds protocol, source and what the IP header carries.
func (p packet) payload() (protocol byte, src netip.Addr, rest []byte, ok bool) {
	b := p.rest
	switch {
	case p.kind == 0x0800 && len(b) >= 20 && b[0]>>4 == 4:
		if b[0]&15 != 5 || b[6]&0x20 != 0 || b[6]&0x1f != 0 || b[7] != 0 { // options, more fragments, an offset
			return 0, src, nil, false
		}
		src, _ = netip.AddrFromSlice(b[12:16])
		return b[9], src, b[20:], true
	case p.kind == 0x86dd && len(b) >= 40 && b[0]>>4 == 6:
		src, _ = netip.AddrFromSlice(b[8:24])
		return b[6], src, b[40:], true
	}
	return 0, src, nil, false
}

// mayLeave says which rule a frame breaks that comes by a port; "": none. The kernel is to
// cut it into pieces of gso bytes if that is not 0.
func (m model) mayLeave(f []byte, gso int) string {
	n, p := m.network(m.hooked), parse(f)
	port := n.Ports[0]
	protocol, src, rest, ok := p.payload()
	headers := len(f) - 14 - len(rest)
	switch {
	case !ok:
		return noSuchKind
	case protocol == 6 && len(rest) >= 20:
		headers += int(rest[12]>>4) * 4
	case protocol == 17 && len(rest) >= 8:
		headers += 8
		if to := binary.BigEndian.Uint16(rest[2:]); to == 68 || to == 546 {
			return serversOnly
		}
	default:
		return noSuchKind
	}
	if p.from != port.MAC || !slices.Contains(port.Addrs, src) {
		return notItsOwn
	}
	place := n.place(p.to)
	if place == nil {
		return nowhere
	}
	size := len(f) - 14
	if gso > 0 {
		size = headers + gso
	}
	switch {
	case size > port.MTU:
		return tooLarge
	case place.Link == port.Link:
		return toItself
	}
	return ""
}

// left says what is wrong with what became of such a frame.
func (m model) left(in, out []byte, words []uint32) error {
	place := m.network(m.hooked).place(parse(in).to)
	if place.Link != 0 {
		return same(in, out)
	}
	if m.direct(in, place) {
		if words[ctxMark] != toNeighbour || !bytes.Equal(out[:6], m.leased[:]) || !bytes.Equal(out[6:12], m.host.MAC[:]) {
			return fmt.Errorf("does not go directly, marked %x: %x", words[ctxMark], out)
		}
		return sameButTTL(in[12:], out[12:], 255)
	}
	if words[ctxMark] != toWire {
		return fmt.Errorf("is marked %x", words[ctxMark])
	}
	if len(out) != len(in)+50 || !bytes.Equal(out[:12], in[:12]) || !bytes.Equal(out[64:], in[14:]) || !bytes.Equal(out[50:64], in[:14]) {
		return fmt.Errorf("the frame is another one: %x", out)
	}
	outer := parse(out)
	protocol, src, rest, ok := outer.payload()
	dst, _ := netip.AddrFromSlice(outer.rest[16:20])
	switch vxlan := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, m.hooked<<8); {
	case !ok || protocol != 17 || src != m.host.VTEP || dst != place.VTEP || outer.rest[8] != 64:
		return fmt.Errorf("outer IP header: %x", out)
	case checksum(outer.rest[:20]) != 0 || int(binary.BigEndian.Uint16(outer.rest[2:])) != len(out)-14:
		return fmt.Errorf("checksum or length of the outer IP header: %x", out)
	case binary.BigEndian.Uint16(rest) < 32768 || binary.BigEndian.Uint16(rest) > 60999:
		return fmt.Errorf("outer source port: %x", out)
	case binary.BigEndian.Uint16(rest[2:]) != m.host.Port || int(binary.BigEndian.Uint16(rest[4:])) != len(out)-34 || rest[6] != 0 || rest[7] != 0:
		return fmt.Errorf("outer UDP header: %x", out)
	case !bytes.Equal(rest[8:16], vxlan):
		return fmt.Errorf("VXLAN header: %x", out)
	}
	inner := parse(in)
	ecn := inner.rest[1]
	if inner.kind == 0x86dd {
		ecn = inner.rest[1] >> 4
	}
	if ecn &= 3; ecn == 3 { // RFC 6040 section 4.1
		ecn = 2
	}
	if outer.rest[1] != ecn {
		return fmt.Errorf("traffic class of the outer header: %x", out)
	}
	return nil
}

// direct says whether such a frame, to another host, is to go there without a tunnel.
func (m model) direct(f []byte, at *Place) bool {
	p := parse(f)
	protocol, _, rest, _ := p.payload()
	home := m.network(m.hooked).homeOf(p.dst())
	toTunnels := protocol == 17 && binary.BigEndian.Uint16(rest[2:]) == m.host.Port
	return m.leased != overlay.MAC{} && p.ttl() == 64 && !toTunnels && home != nil && !home.Here && home.MAC == at.MAC && home.VTEP == at.VTEP
}

func (p packet) ttl() byte {
	if p.kind == 0x86dd {
		return p.rest[7]
	}
	return p.rest[8]
}

// sameButTTL compares frames from their EtherType on. The checksum is as right as it was.
func sameButTTL(in, out []byte, ttl byte) error {
	want := slices.Clone(in)
	if in[0] == 0x86 {
		want[9] = ttl
		return same(want, out)
	}
	copy(want[10:14], out[10:14])
	if was, now := checksum(in[2:22]), checksum(out[2:22]); want[10] != ttl || want[11] != in[11] || was != now && was^now != 0xffff {
		return fmt.Errorf("TTL or checksum: %x", out)
	}
	return same(want, out)
}

// dst is the address that it is for.
func (p packet) dst() netip.Addr {
	from, to := 16, 20
	if p.kind == 0x86dd {
		from, to = 24, 40
	}
	a, _ := netip.AddrFromSlice(p.rest[from:to])
	return a
}

func (n *Network) homeOf(a netip.Addr) *Home {
	i := slices.IndexFunc(n.Homes, func(h Home) bool { return h.Addr == a })
	if i < 0 {
		return nil
	}
	return &n.Homes[i]
}

// mayArrive says the same of a frame within a network that another host has sent.
func (n *Network) mayArrive(f []byte) string {
	p := parse(f)
	place := n.place(p.to)
	switch {
	case p.kind != 0x0800 && p.kind != 0x86dd:
		return noSuchKind
	case place == nil || place.Link == 0:
		return nowhere
	case p.from[0]&1 != 0 || p.from == overlay.MAC{}:
		return noStation
	case len(f)-14 > n.Ports[0].MTU:
		return beyondMTU
	}
	return ""
}

// mayCome says it of what the VXLAN device gives.
func (m model) mayCome(f []byte, _ int) string { return m.network(m.hooked).mayArrive(f) }

// came is of such a frame.
func (m model) came(in, out []byte, _ []uint32) error { return same(in, out) }

// mayEnter says it of what the wire gives. The interface's own MAC is zero.
func (m model) mayEnter(f []byte, gso int) string {
	p := parse(f)
	protocol, src, rest, ok := p.payload()
	switch {
	case p.to != overlay.MAC{}:
		return notForUs
	case ok && p.dst() != m.host.VTEP:
		return m.mayEnterDirectly(p)
	case gso > 0:
		return severalInOne
	case p.kind != 0x0800 || !ok || protocol != 17 || len(rest) < 8+8+14:
		return notATunnel
	}
	dst, _ := netip.AddrFromSlice(p.rest[16:20])
	vxlan := rest[8:]
	switch {
	case dst != m.host.VTEP || binary.BigEndian.Uint16(rest[2:]) != m.host.Port:
		return notForUs
	case int(binary.BigEndian.Uint16(p.rest[2:])) != len(p.rest) || int(binary.BigEndian.Uint16(rest[4:])) != len(rest):
		return lies
	case p.rest[1]&3 == 3:
		return congested
	case !bytes.Equal(vxlan[:4], []byte{8, 0, 0, 0}):
		return notATunnel
	}
	n := m.network(binary.BigEndian.Uint32(vxlan[4:]) >> 8)
	if n == nil || !slices.Contains(n.Members, src) {
		return noMember
	}
	if broken := n.mayArrive(vxlan[8:]); broken != "" {
		return broken
	}
	pseudo := slices.Concat(p.rest[12:20], []byte{0, 17}, rest[4:6])
	switch {
	case checksum(p.rest[:20]) != 0, (rest[6] != 0 || rest[7] != 0) && checksum(slices.Concat(pseudo, rest)) != 0:
		return badChecksum
	case vxlan[7] != 0:
		return reservedBits
	}
	return ""
}

// mayEnterDirectly says it of what no tunnel is to end.
func (m model) mayEnterDirectly(p packet) string {
	protocol, src, rest, _ := p.payload()
	for _, n := range m.networks {
		to, from := n.homeOf(p.dst()), n.homeOf(src)
		if to == nil || !to.Here {
			continue
		}
		switch {
		case from == nil || from.Here || !slices.Contains(n.NICs, NIC{p.from, from.VTEP}):
			return notTogether
		case protocol != 6 && (protocol != 17 || len(rest) < 8):
			return noSuchKind
		case p.ttl() != 255:
			return routed
		case protocol == 17 && binary.BigEndian.Uint16(rest[2:]) == m.host.Port:
			return forWeft
		}
		return ""
	}
	return nowhere
}

// enteredDirectly is of such a packet: it has the MACs of the containers.
func (m model) enteredDirectly(in, out []byte, words []uint32) error {
	p := parse(in)
	_, src, _, _ := p.payload()
	for _, n := range m.networks {
		to, from := n.homeOf(p.dst()), n.homeOf(src)
		if to == nil || !to.Here {
			continue
		}
		mark, link := uint32(toPort), to.Link
		if link == 0 {
			mark, link = toBridge, n.Tunnel
		}
		if words[ctxMark] != mark || int(words[ctxMark+1]) != link {
			return fmt.Errorf("is for link %d, marked %x, and not for %d", words[ctxMark+1], words[ctxMark], link)
		}
		if to.MAC != overlay.MAC(out[:6]) || from.MAC != overlay.MAC(out[6:12]) {
			return fmt.Errorf("is not from %v to %v: %x", from.MAC, to.MAC, out)
		}
		return sameButTTL(in[12:], out[12:], 64)
	}
	return errors.New("is for nobody")
}

// entered is of such a packet: the frame alone is left, and is for the port.
func (m model) entered(in, out []byte, words []uint32) error {
	if parse(in).dst() != m.host.VTEP {
		return m.enteredDirectly(in, out, words)
	}
	n := m.network(binary.BigEndian.Uint32(in[46:]) >> 8)
	if want := n.place(overlay.MAC(in[50:56])); words[ctxMark] != toPort || int(words[ctxMark+1]) != want.Link {
		return fmt.Errorf("is for link %d, marked %x, and not for %d", words[ctxMark+1], words[ctxMark], want.Link)
	}
	return same(in[50:], out)
}

func same(in, out []byte) error {
	if !bytes.Equal(in, out) {
		return errors.New("the frame is another one")
	}
	return nil
}

// checksum is the Internet's (RFC 1071): 0 over what has the right one in it.
func checksum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		sum += uint32(c) << (8 * (1 - i&1))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum) //nolint:gosec // folded
}
