package craft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// Extension headers (IANA protocol numbers) by the letter of their chains here.
var headers = map[rune]byte{
	'H': 0,  // hop-by-hop options
	'R': 43, // routing
	'F': 44, // fragment, of a packet that is whole
	'D': 60, // destination options
}

// chain puts extension headers before a payload for to, and says what the first is.
func (d *draw) chain(to netip.Addr, letters string, proto byte, payload []byte) (byte, []byte) {
	for _, letter := range slices.Backward([]rune(letters)) {
		h := []byte{proto, 0, 1, 4, 0, 0, 0, 0} // PadN
		switch letter {
		case 'R':
			// Nothing is left to do; of types that are known or nobody's.
			h = []byte{proto, 0, pick(d, []byte{0, 2, 3, 4, 253}), 0, 0, 0, 0, 0}
			if h[2] == 2 {
				h = append(h, to.AsSlice()...)
				h[1] = 2
			}
		case 'F':
			h = binary.BigEndian.AppendUint32([]byte{proto, 0, 0, 0}, d.Uint32())
		}
		proto, payload = headers[letter], append(h, payload...)
	}
	return proto, payload
}

func (d *draw) packet6(from, to netip.Addr, proto byte, payload []byte) []byte {
	h := binary.BigEndian.AppendUint32(nil, 0x60000000|d.Uint32N(1<<20))
	h = binary.BigEndian.AppendUint16(h, uint16(len(payload)))
	h = append(h, proto, 255)
	return slices.Concat(h, from.AsSlice(), to.AsSlice(), payload)
}

// split gives the packets that carry a payload in pieces: before the fragment
// header has the headers of one chain, behind it those of another.
func (d *draw) split(from, to netip.Addr, before, behind string, proto byte, payload []byte, o order, cuts ...int) [][]byte {
	proto, payload = d.chain(to, behind, proto, payload)
	id := d.Uint32()
	var out [][]byte
	for _, p := range o.of(d, pieces(payload, cuts...)) {
		first, data := d.chain(to, before, headers['F'], slices.Concat(fragment(proto, id, p), p.data))
		out = append(out, d.packet6(from, to, first, data))
	}
	return out
}

func fragment(proto byte, id uint32, p piece) []byte {
	at := uint16(p.offset)
	if p.more {
		at |= 1
	}
	h := binary.BigEndian.AppendUint16([]byte{proto, 0}, at)
	return binary.BigEndian.AppendUint32(h, id)
}

// nested gives a payload in two pieces, each of which is in two pieces again.
func (d *draw) nested(from, to netip.Addr, proto byte, payload []byte, o order) [][]byte {
	var out [][]byte
	id := d.Uint32()
	for _, p := range pieces(payload, 16) {
		inside := slices.Concat(fragment(proto, id, p), p.data)
		out = append(out, d.split(from, to, "", "", headers['F'], inside, o, 8)...)
	}
	return out
}

// chains are all orders of up to three different headers, and some with one twice.
var chains = func() []string {
	out := []string{"DD", "FF", "RR", "HDFD", "HDRFD", "FDF", "DFD", "RFR", "FHF", "DDDDDDDD"}
	var grow func(string)
	grow = func(c string) {
		if c != "" {
			out = append(out, c)
		}
		if len(c) == 3 {
			return
		}
		for _, letter := range "HDRF" {
			if !strings.ContainsRune(c, letter) {
				grow(c + string(letter))
			}
		}
	}
	grow("")
	return out
}()

// carrier is a way to send a payload in IPv6 packets.
type carrier struct {
	name string
	send func(d *draw, from, to netip.Addr, proto byte, payload []byte) [][]byte
}

// carriers are all of them: behind chains of headers, in pieces, and both.
var carriers = func() []carrier {
	var out []carrier
	add := func(name string, send func(*draw, netip.Addr, netip.Addr, byte, []byte) [][]byte) {
		out = append(out, carrier{name, send})
	}
	for _, c := range append([]string{""}, chains...) {
		add(strings.TrimSpace("whole "+c), func(d *draw, from, to netip.Addr, proto byte, payload []byte) [][]byte {
			first, data := d.chain(to, c, proto, payload)
			return [][]byte{d.packet6(from, to, first, data)}
		})
	}
	for _, o := range orders {
		for _, around := range [][2]string{{"", ""}, {"H", ""}, {"D", ""}, {"R", ""}, {"", "D"}, {"", "DD"}, {"", "F"}, {"", "R"}, {"HD", "DF"}} {
			name := "cut " + around[0] + "|" + around[1] + o.name
			add(name, func(d *draw, from, to netip.Addr, proto byte, payload []byte) [][]byte {
				return d.split(from, to, around[0], around[1], proto, payload, o, pick(d, [][]int{{8}, {16}, {24}, {8, 16}})...)
			})
		}
		add("cut twice"+o.name, func(d *draw, from, to netip.Addr, proto byte, payload []byte) [][]byte {
			return d.nested(from, to, proto, payload, o)
		})
	}
	return out
}()

func (d *draw) frame6(packet []byte) []byte { return ether(d.next, d.job.MAC, typeIPv6, packet) }

// shapes6 are those of the IPv6 underlay.
var shapes6 = func() []shape {
	var out []shape
	for _, c := range carriers {
		out = append(out, shape{c.name, func(d *draw) Shot {
			var s Shot
			for _, p := range c.send(d, d.from, d.to, protoUDP, d.datagram()) {
				s.Frames = append(s.Frames, d.frame6(p))
			}
			return s
		}})
	}
	for _, t := range tags {
		out = append(out, shape{t.name, func(d *draw) Shot {
			return Shot{Frames: [][]byte{t.put(d.frame6(d.packet6(d.from, d.to, protoUDP, d.datagram())))}}
		}})
	}
	return append(out, shape{"cut by the receiver", func(d *draw) Shot {
		u, size := d.several()
		return Shot{Frames: [][]byte{d.frame6(d.packet6(d.from, d.to, protoUDP, u))}, Size: size, Start: 14 + 40}
	}})
}()
