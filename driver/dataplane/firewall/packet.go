package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Packet is the first of a flow.
type Packet struct {
	In       bool   // it arrives; else it leaves
	TCP      bool   // else it is UDP
	Link     string // over which
	Src, Dst netip.Addr
	SrcPort  uint16 // 0: any
	DstPort  uint16
	// Untracked: the kernel keeps no connection for it, as for what the tunnels
	// send and get.
	Untracked bool
	Index     uint32 // of Link in the kernel; 0: not known
}

func (p Packet) proto() byte {
	if p.TCP {
		return unix.IPPROTO_TCP
	}
	return unix.IPPROTO_UDP
}

// header gives one of the packet's headers (RFC 791, 8200, 768, 9293).
func (p Packet) header(base expr.PayloadBase) field {
	switch {
	case base == expr.PayloadBaseNetworkHeader && p.Dst.Is4():
		f := newField(20)
		f.put(0, 0x45)
		f.put(9, p.proto())
		f.put(12, p.Src.AsSlice()...)
		f.put(16, p.Dst.AsSlice()...)
		return f
	case base == expr.PayloadBaseNetworkHeader:
		f := newField(40)
		f.put(6, p.proto())
		f.put(8, p.Src.AsSlice()...)
		f.put(24, p.Dst.AsSlice()...)
		return f
	case base == expr.PayloadBaseTransportHeader:
		f := newField(20)
		if p.SrcPort != 0 {
			f.put(0, binary.BigEndian.AppendUint16(nil, p.SrcPort)...)
		}
		f.put(2, binary.BigEndian.AppendUint16(nil, p.DstPort)...)
		if p.TCP {
			f.put(13, 0x02) // SYN
		}
		return f
	}
	return field{}
}

// meta gives what the kernel knows beside the packet.
func (p Packet) meta(key expr.MetaKey) field {
	link := make([]byte, unix.IFNAMSIZ)
	copy(link, p.Link)
	none := make([]byte, unix.IFNAMSIZ)
	switch key {
	case expr.MetaKeyL4PROTO:
		return sure(p.proto())
	case expr.MetaKeyNFPROTO:
		if p.Dst.Is4() {
			return sure(unix.NFPROTO_IPV4)
		}
		return sure(unix.NFPROTO_IPV6)
	case expr.MetaKeyPROTOCOL: // EtherType, IEEE 802 numbers
		if p.Dst.Is4() {
			return sure(0x08, 0x00)
		}
		return sure(0x86, 0xdd)
	case expr.MetaKeyIIFNAME:
		if p.In {
			return sure(link...)
		}
		return sure(none...)
	case expr.MetaKeyOIFNAME:
		if p.In {
			return sure(none...)
		}
		return sure(link...)
	case expr.MetaKeyIIF:
		return p.linkIndex(p.In)
	case expr.MetaKeyOIF:
		return p.linkIndex(!p.In)
	default:
		return field{}
	}
}

// linkIndex is the number of the link that the packet comes by, or leaves by; 0
// if it does not.
func (p Packet) linkIndex(does bool) field {
	switch {
	case !does:
		return sure(make([]byte, 4)...)
	case p.Index == 0:
		return field{}
	}
	return sure(binary.NativeEndian.AppendUint32(nil, p.Index)...)
}
