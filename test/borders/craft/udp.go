package craft

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

const (
	protoUDP   = 17
	protoICMP6 = 58
)

// datagram is the UDP datagram of an attack.
func (d *draw) datagram() []byte { return d.datagramOf(d.vxlan(d.vni())) }

func (d *draw) datagramOf(payload []byte) []byte {
	u := udp(d.from, d.to, d.source, d.job.UDP, payload)
	if d.from.Is4() && d.sometimes(4) {
		u[6], u[7] = 0, 0 // no checksum, as VXLAN over IPv4 may have
	}
	return u
}

func udp(from, to netip.Addr, source, port uint16, payload []byte) []byte {
	u := binary.BigEndian.AppendUint16(nil, source)
	u = binary.BigEndian.AppendUint16(u, port)
	u = binary.BigEndian.AppendUint16(u, uint16(8+len(payload)))
	u = append(append(u, 0, 0), payload...)
	binary.BigEndian.PutUint16(u[6:], checksum(slices.Concat(pseudo(from, to, protoUDP, len(u)), u)))
	return u
}

// pseudo is the header that checksums cover besides (RFC 8200 section 8.1; that of
// IPv4 adds up to the same).
func pseudo(from, to netip.Addr, proto byte, size int) []byte {
	return slices.Concat(from.AsSlice(), to.AsSlice(), binary.BigEndian.AppendUint32(nil, uint32(size)), []byte{0, 0, 0, proto})
}

// checksum is the Internet's (RFC 1071).
func checksum(b []byte) uint16 { return ^sum(b) }

func sum(b []byte) uint16 {
	total := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		total += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		total += uint32(b[len(b)-1]) << 8
	}
	for total>>16 != 0 {
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

// piece is a part of a packet's payload.
type piece struct {
	offset int
	more   bool
	data   []byte
}

// pieces cuts at the offsets, which are multiples of 8.
func pieces(data []byte, cuts ...int) []piece {
	var out []piece
	at := 0
	for _, c := range cuts {
		if c > at && c < len(data) {
			out = append(out, piece{at, true, data[at:c]})
			at = c
		}
	}
	return append(out, piece{at, false, data[at:]})
}

// order is how pieces are sent.
type order struct {
	name string
	of   func(*draw, []piece) []piece
}

var orders = []order{
	{"", func(_ *draw, p []piece) []piece { return p }},
	{" backwards", func(_ *draw, p []piece) []piece {
		p = slices.Clone(p)
		slices.Reverse(p)
		return p
	}},
	{" shuffled, one twice", func(d *draw, p []piece) []piece {
		p = append(slices.Clone(p), pick(d, p))
		d.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
		return p
	}},
	{" overlapping", func(d *draw, p []piece) []piece {
		// A piece before the others that tells another story, such as another port.
		lie := slices.Clone(p[0].data)
		for i := range lie {
			lie[i] = byte(d.Uint32())
		}
		return append([]piece{{p[0].offset, true, lie}}, p...)
	}},
}
