package craft

import (
	"slices"
	"strings"
)

func byName(a, b shape) int { return strings.Compare(a.name, b.name) }

// socketShapes are what an ordinary UDP socket can send.
var socketShapes = []shape{
	{"a datagram", func(d *draw) Shot { return Shot{Source: d.from, Frames: [][]byte{d.vxlan(d.vni())}} }},
	{"a datagram in several packets", func(d *draw) Shot {
		return Shot{Source: d.from, Frames: [][]byte{slices.Concat(d.vxlan(d.vni()), make([]byte, 2000+d.IntN(4000)))}}
	}},
}

// segmentShapes are several datagrams that the kernel cuts from one.
var segmentShapes = []shape{
	{"three datagrams in one", func(d *draw) Shot {
		payload, size := d.segments()
		return Shot{Source: d.from, Frames: [][]byte{payload}, Size: size}
	}},
	{"ten datagrams in one", func(d *draw) Shot {
		payload, size := d.segments()
		return Shot{Source: d.from, Frames: [][]byte{slices.Concat(payload, slices.Repeat(payload[size:2*size], 7))}, Size: size}
	}},
}

// segments is the payload of three datagrams of one size. A firewall that sees them
// as one sees the VNI of the first.
func (d *draw) segments() (payload []byte, size int) {
	const nobodys = 77
	plain := func(vni uint32) []byte {
		f := ether(Broadcast, MAC{2, 0xbd, 0, 0, 1, 0}, typeLocal, slices.Concat(d.mark(), make([]byte, 30)))
		return slices.Concat([]byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}, f)
	}
	first := plain(nobodys)
	return slices.Concat(first, plain(d.job.VNI), plain(d.job.VNI)), len(first)
}
