package craft

import (
	"encoding/binary"
	"slices"
)

// EtherTypes (IEEE 802 numbers).
const (
	typeIPv4  = 0x0800
	typeARP   = 0x0806
	typeIPv6  = 0x86dd
	typeTag   = 0x8100 // 802.1Q
	typeOuter = 0x88a8 // 802.1ad
	typeLocal = 0x88b5 // for local experiments
)

func ether(dst, src MAC, kind uint16, payload []byte) []byte {
	return slices.Concat(dst[:], src[:], binary.BigEndian.AppendUint16(nil, kind), payload)
}

// tag puts a VLAN tag before the type of a frame.
func tag(frame []byte, kind, vid uint16) []byte {
	t := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, kind), vid)
	return slices.Insert(slices.Clone(frame), 12, t...)
}

// inner is the frame that is to get into the network.
func (d *draw) inner() []byte {
	dst := Broadcast
	if len(d.job.Victims) > 0 && d.sometimes(2) {
		dst = pick(d, d.job.Victims)
	}
	f := ether(dst, MAC{2, 0xbd, 0, 0, 0, byte(d.IntN(256))}, typeLocal, slices.Concat(d.mark(), make([]byte, 30)))
	if d.sometimes(8) {
		f = tag(f, typeTag, uint16(d.IntN(4096)))
	}
	return f
}

// vni is that of the network under attack, or once in a while any other.
func (d *draw) vni() uint32 {
	if d.sometimes(8) {
		return pick(d, []uint32{0, 1, 0xffffff, d.Uint32N(1 << 24), d.job.VNI ^ 1})
	}
	return d.job.VNI
}

// vxlan is the payload of the datagram (RFC 7348 section 5).
func (d *draw) vxlan(vni uint32) []byte {
	flags, reserved := uint32(0x08000000), uint32(0)
	if d.sometimes(8) {
		flags |= d.Uint32() // kernels pass over some of the reserved bits
	}
	if d.sometimes(8) {
		reserved = d.Uint32N(256)
	}
	return slices.Concat(binary.BigEndian.AppendUint32(nil, flags), binary.BigEndian.AppendUint32(nil, vni<<8|reserved), d.inner())
}
