package craft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// packet4 is an IPv4 packet with a piece of a datagram, and options if there are any.
func (d *draw) packet4(from, to netip.Addr, id uint16, p piece, options ...byte) []byte {
	flags := uint16(p.offset / 8)
	if p.more {
		flags |= 0x2000
	}
	h := []byte{0x40 | byte(5+len(options)/4), byte(d.IntN(256))}
	h = binary.BigEndian.AppendUint16(h, uint16(20+len(options)+len(p.data)))
	h = binary.BigEndian.AppendUint16(h, id)
	h = binary.BigEndian.AppendUint16(h, flags)
	h = append(h, 64, protoUDP, 0, 0)
	h = slices.Concat(h, from.AsSlice(), to.AsSlice(), options)
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, p.data...)
}

// frame4 is the frame that takes a packet to its target.
func (d *draw) frame4(packet []byte) []byte { return ether(d.next, d.job.MAC, typeIPv4, packet) }

// whole4 is the datagram in one frame.
func (d *draw) whole4(options ...byte) []byte {
	return d.frame4(d.packet4(d.from, d.to, uint16(d.Uint32()), piece{data: d.datagram()}, options...))
}

func (d *draw) pieces4(o order, cuts ...int) [][]byte {
	var out [][]byte
	id := uint16(d.Uint32())
	for _, p := range o.of(d, pieces(d.datagram(), cuts...)) {
		out = append(out, d.frame4(d.packet4(d.from, d.to, id, p)))
	}
	return out
}

// tags are what may stand before the type of a frame.
var tags = []struct {
	name string
	put  func(f []byte) []byte
}{
	{"priority tag", func(f []byte) []byte { return tag(f, typeTag, 0xe000) }},
	{"VLAN tag", func(f []byte) []byte { return tag(f, typeTag, 7) }},
	{"provider tag", func(f []byte) []byte { return tag(f, typeOuter, 7) }},
	{"provider priority tag", func(f []byte) []byte { return tag(f, typeOuter, 0) }},
	{"two tags", func(f []byte) []byte { return tag(tag(f, typeTag, 0), typeOuter, 0) }},
	{"two VLAN tags", func(f []byte) []byte { return tag(tag(f, typeTag, 7), typeTag, 0) }},
}

// shapes4 are those of the IPv4 underlay.
var shapes4 = func() []shape {
	out := []shape{{"whole", func(d *draw) Shot { return Shot{Frames: [][]byte{d.whole4()}} }}}
	for name, options := range map[string][]byte{
		"no-operations":       {1, 1, 1, 1},
		"router alert":        {0x94, 4, 0, 0},
		"loose source route":  {0x83, 7, 8, 198, 51, 100, 11, 0},
		"record route":        {7, 7, 4, 0, 0, 0, 0, 0},
		"all the 40 of bytes": slices.Repeat([]byte{1}, 40),
	} {
		out = append(out, shape{"options: " + name, func(d *draw) Shot { return Shot{Frames: [][]byte{d.whole4(options...)}} }})
	}
	for _, t := range tags {
		out = append(out, shape{t.name, func(d *draw) Shot { return Shot{Frames: [][]byte{t.put(d.whole4())}} }})
	}
	for _, o := range orders {
		for _, cuts := range [][]int{{8}, {16}, {24}, {8, 16}, {16, 48}} {
			out = append(out, shape{fmt.Sprintf("cut at %v%s", cuts, o.name), func(d *draw) Shot { return Shot{Frames: d.pieces4(o, cuts...)} }})
		}
	}
	out = append(out, shape{"cut by the receiver", func(d *draw) Shot {
		u, size := d.several()
		return Shot{Frames: [][]byte{d.frame4(d.packet4(d.from, d.to, 1, piece{data: u}))}, Size: size, Start: 14 + 20}
	}})
	slices.SortFunc(out[1:], byName) // the map's order is another each time
	return out
}()

// several is a datagram that the kernel is to cut into three: the first has a VNI
// that is nobody's.
func (d *draw) several() (u []byte, size int) {
	payload, size := d.segments()
	u = udp(d.from, d.to, d.source, d.job.UDP, payload)
	// Of the checksum there is the part of the pseudo header only.
	binary.BigEndian.PutUint16(u[6:], sum(pseudo(d.from, d.to, protoUDP, len(u))))
	return u, size
}
