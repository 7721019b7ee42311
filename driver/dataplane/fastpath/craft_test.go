package fastpath

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// valid are frames of a container of the network to dst, of both families.
func valid(from Port, dst overlay.MAC) [][]byte {
	var out [][]byte
	for _, protocol := range []byte{6, 17} {
		for _, a := range from.Addrs {
			kind, ip := uint16(0x0800), make([]byte, 20)
			if a.Is4() {
				ip[0], ip[8], ip[9] = 0x45, 64, protocol
				copy(ip[12:], a.AsSlice())
				copy(ip[16:], []byte{10, 1, 0, 9})
				binary.BigEndian.PutUint16(ip[2:], 60)
				binary.BigEndian.PutUint16(ip[10:], checksum(ip))
			} else {
				kind, ip = 0x86dd, make([]byte, 40)
				ip[0], ip[5], ip[6], ip[7] = 0x60, 40, protocol, 64
				copy(ip[8:], a.AsSlice())
				copy(ip[24:], netip.MustParseAddr("fd01::9").AsSlice())
			}
			out = append(out, slices.Concat(ether(dst, from.MAC, kind), ip, transport(protocol)))
		}
	}
	return out
}

// directly are frames without a tunnel, from a container of the other host.
func directly() [][]byte {
	var out [][]byte
	for _, f := range valid(Port{MAC: otherNIC, Addrs: []netip.Addr{far4, far6}}, overlay.MAC{}) {
		out = append(out, readdressed(f, own4, own6))
	}
	for _, f := range valid(Port{MAC: otherNIC, Addrs: []netip.Addr{far4}}, overlay.MAC{}) {
		out = append(out, readdressed(f, near4, own6), readdressed(f, gone4, own6))
	}
	for _, f := range out {
		aged(f, 255)
	}
	return out
}

// aged gives a frame another TTL, and the checksum that belongs to it.
func aged(f []byte, ttl byte) {
	if f[12] == 0x86 {
		f[21] = ttl
		return
	}
	f[22], f[24], f[25] = ttl, 0, 0
	binary.BigEndian.PutUint16(f[24:], checksum(f[14:34]))
}

// readdressed is a frame to another address, of its family.
func readdressed(f []byte, to4, to6 netip.Addr) []byte {
	f = slices.Clone(f)
	if f[12] == 0x86 {
		copy(f[38:], to6.AsSlice())
	} else {
		copy(f[30:], to4.AsSlice())
	}
	return f
}

func transport(protocol byte) []byte {
	b := make([]byte, 40)
	copy(b, []byte{0x12, 0x34, 0x1b, 0x58})
	if protocol == 6 {
		b[12] = 0x50
	} else {
		b[5] = 40
	}
	return b
}

func ether(dst, src overlay.MAC, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(slices.Concat(dst[:], src[:]), kind)
}

// tunnelled is a frame of a network as the VTEP sends it.
func tunnelled(frame []byte, vni uint32, from netip.Addr) []byte {
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], thisVTEP.AsSlice())
	udp := []byte{0x80, 1, 0x12, 0xb5, 0, 0, 0, 0}
	vxlan := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, vni<<8)
	return refit(slices.Concat(ether(overlay.MAC{}, overlay.MAC{}, 0x0800), ip, udp, vxlan, frame))
}

// refit gives the outer headers the lengths and the checksum that belong there.
func refit(f []byte) []byte {
	if len(f) < 42 {
		return f
	}
	binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14)) //nolint:gosec // no frame is so long
	binary.BigEndian.PutUint16(f[38:], uint16(len(f)-34)) //nolint:gosec // no frame is so long
	f[24], f[25] = 0, 0
	binary.BigEndian.PutUint16(f[24:], checksum(f[14:34]))
	return f
}

// press makes frames wrong, as an attacker might who tries what he could vary.
type press struct {
	*rand.Rand
	at    int // where the network's frame begins
	macs  []overlay.MAC
	addrs []netip.Addr // of containers
	vteps []netip.Addr
	vnis  []uint32
}

func pick[T any](p press, list []T) T { return list[p.IntN(len(list))] }

// longest is how many bytes the kernel makes a packet of, for a trial: a page without
// what it needs itself.
const longest = 3200

// mangle gives another frame, and into pieces of which size the kernel is to cut it.
func (p press) mangle(f []byte) (out []byte, gso int) {
	out = slices.Clone(f)
	for range 1 + p.IntN(3) {
		switch {
		case len(out) < p.at+15: // too little is left to know where what is
			out[p.IntN(len(out))] = byte(p.IntN(256))
		case p.at > 0 && p.IntN(2) == 0:
			out = p.outer(out)
		default:
			out = p.inner(out)
		}
	}
	out = out[:min(len(out), longest)]
	if p.at > 0 && p.IntN(2) == 0 { // or the lengths alone would give it away
		out = refit(out)
	}
	if p.IntN(8) == 0 {
		gso = pick(p, []int{1, 500, 1382, 1398, 1402, 1410, 1411, 1422, 1423, 1450, 1451, 9000, 65535})
	}
	return out, gso
}

// set writes b at an offset of the network's frame, as far as there is room.
func (p press) set(f []byte, at int, b ...byte) {
	if from := p.at + at; from < len(f) {
		copy(f[from:], b)
	}
}

// insert puts b at an offset of the network's frame.
func (p press) insert(f []byte, at int, b ...byte) []byte {
	return slices.Insert(f, min(p.at+at, len(f)), b...)
}

func (p press) short() []byte {
	return binary.BigEndian.AppendUint16(nil, uint16(p.IntN(1<<16))) //nolint:gosec // 16 bits
}

// protocols are headers that may follow that of IP, extensions of IPv6 among them.
var protocols = []byte{0, 1, 2, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 135, 139}

// inner changes one thing of the network's frame.
func (p press) inner(f []byte) []byte {
	six := f[p.at+12] == 0x86
	switch p.IntN(16) {
	case 15: // TTL
		at := 22
		if six {
			at = 21
		}
		p.set(f, at, pick(p, []byte{0, 1, 63, 64, 254, 255}))
	case 0: // cut off, at a header's end or anywhere
		return f[:min(len(f), p.at+pick(p, []int{14, 33, 34, 41, 42, 53, 54, 61, 62, 73, 74, 15 + p.IntN(80)}))]
	case 1: // longer, often about the MTU
		return append(f, make([]byte, pick(p, []int{1, 46, 1450 - 60, 1450 - 80, 1450 - 59, 1450 - 79, p.IntN(2900)}))...)
	case 2:
		f[p.IntN(len(f))] ^= 1 << p.IntN(8)
	case 3:
		f[p.IntN(min(len(f), p.at+80))] = byte(p.IntN(256))
	case 4:
		m := pick(p, p.macs)
		p.set(f, 6*p.IntN(2), m[:]...)
	case 5: // source or destination
		at := 26 + 4*p.IntN(2)
		if six {
			at = 22 + 16*p.IntN(2)
		}
		p.set(f, at, pick(p, p.addrs).AsSlice()...)
	case 6:
		at := 23
		if six {
			at = 20
		}
		p.set(f, at, pick(p, protocols))
	case 7: // a fragment of IPv4; of IPv6 the flow label
		p.set(f, 20, byte(p.IntN(256)), byte(p.IntN(4)))
	case 8: // options, or extension headers
		if six {
			h := make([]byte, 8*(1+p.IntN(3)))
			h[0], h[1] = f[min(len(f)-1, p.at+20)], byte(len(h)/8-1)
			p.set(f, 20, pick(p, []byte{0, 43, 44, 51, 60, 135}))
			return p.insert(f, 54, h...)
		}
		words := p.IntN(11)
		p.set(f, 14, byte(0x40|5+words))
		return p.insert(f, 34, make([]byte, 4*p.IntN(words+1))...)
	case 9: // a length that lies
		p.set(f, pick(p, []int{16, 18, 38, 58}), p.short()...)
	case 10: // tags
		tag := append(pick(p, [][]byte{{0x81, 0}, {0x88, 0xa8}, {0x81, 0, 0, 1, 0x81, 0}}), p.short()...)
		return p.insert(f, 12, tag...)
	case 11:
		p.set(f, 12, pick(p, [][]byte{{8, 0}, {0x86, 0xdd}, {8, 6}, {0x88, 0x47}, {0x88, 0x48}, {0, 60}, {0x88, 0x64}, {0x65, 0x58}})...)
	case 12: // ports
		at := 34
		if six {
			at = 54
		}
		p.set(f, at+2*p.IntN(2), pick(p, [][]byte{{0, 67}, {0, 68}, {2, 34}, {2, 35}, {0, 53}, {0x12, 0xb5}})...)
	case 13: // where TCP's header ends
		at := 46
		if six {
			at = 66
		}
		p.set(f, at, byte(p.IntN(16)<<4))
	case 14: // version and length of the header
		p.set(f, 14, pick(p, []byte{0x40, 0x44, 0x46, 0x4f, 0x55, 0x60, 0x65, 0x6f, 0x45, 0}))
	}
	return f
}

// outer changes one thing of what another host has put before it.
func (p press) outer(f []byte) []byte {
	put := func(at int, b ...byte) []byte {
		copy(f[at:], b)
		return f
	}
	switch p.IntN(12) {
	case 0:
		return put(26, pick(p, p.vteps).AsSlice()...)
	case 1:
		return put(30, pick(p, p.vteps).AsSlice()...)
	case 2:
		v := pick(p, p.vnis)
		return put(46, byte(v>>16), byte(v>>8), byte(v))
	case 3:
		return put(42, pick(p, []byte{0, 8, 0x0c, 0x88, 0xff}), byte(p.IntN(2)*p.IntN(256)), 0, 0)
	case 4:
		return put(pick(p, []int{43, 44, 45, 49}), byte(p.IntN(256)))
	case 5:
		return put(23, pick(p, protocols))
	case 6: // fragments, the evil bit of RFC 3514
		return put(20, byte(p.IntN(256)), byte(p.IntN(2)*p.IntN(256)))
	case 7:
		return put(15, byte(p.IntN(256)))
	case 8: // lengths
		return put(pick(p, []int{16, 38}), p.short()...)
	case 9: // checksums
		return put(pick(p, []int{24, 40}), p.short()...)
	case 10: // ports
		return put(34+2*p.IntN(2), pick(p, [][]byte{{0x12, 0xb5}, {0x12, 0xb6}, {0x21, 0x18}, {0xb5, 0x12}, p.short()})...)
	default: // options, tags, another EtherType or MAC
		switch p.IntN(4) {
		case 0:
			put(14, byte(0x46+p.IntN(10)))
			return slices.Insert(f, 34, make([]byte, 4)...)
		case 1:
			return slices.Insert(f, 12, append(pick(p, [][]byte{{0x81, 0}, {0x88, 0xa8}}), p.short()...)...)
		case 2:
			return put(12, pick(p, [][]byte{{0x86, 0xdd}, {8, 6}, {0, 60}})...)
		}
		m := pick(p, p.macs)
		return put(6*p.IntN(2), m[:]...)
	}
}
