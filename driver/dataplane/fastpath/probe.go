package fastpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/weft-net/weft/driver/overlay"
)

// Probe is a packet as one container sends another one without a tunnel, but by weft for
// weft: from_wire checks it as any other, and tells of it instead of letting it in.
type Probe struct {
	Answer   bool // else it is a question
	Nonce    uint64
	Src, Dst netip.Addr // of containers, of one family
}

// Probed is one that has come.
type Probed struct {
	Probe
	VNI  uint32
	VTEP netip.Addr // of the host that has sent it
}

const (
	probeMagic    = 0x77656674 // PROBE_MAGIC of bpf/fastpath.c
	kindQuestion  = 1
	kindAnswer    = 2
	probeTTL      = 255 // WIRE_TTL
	protocolUDP   = 17
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
)

// Frame gives the probe's bytes, from the MAC of this host's uplink to that of another's.
// port is the tunnels'.
func (p Probe) Frame(from, to overlay.MAC, port uint16) []byte {
	kind := uint32(kindQuestion)
	if p.Answer {
		kind = kindAnswer
	}
	payload := binary.BigEndian.AppendUint32(nil, probeMagic)
	payload = binary.BigEndian.AppendUint32(payload, kind)
	payload = binary.NativeEndian.AppendUint64(payload, p.Nonce) // nobody but the sender reads it
	udp := binary.BigEndian.AppendUint16(nil, port)
	udp = binary.BigEndian.AppendUint16(udp, port)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload))) //nolint:gosec // short
	udp = append(append(udp, 0, 0), payload...)

	length := uint16(len(udp)) //nolint:gosec // short
	pseudo := append(p.Src.AsSlice(), p.Dst.AsSlice()...)
	pseudo = append(binary.BigEndian.AppendUint16(pseudo, length), 0, protocolUDP)
	if sum := internetSum(append(pseudo, udp...)); sum != 0 {
		binary.BigEndian.PutUint16(udp[6:], sum)
	} else {
		udp[6], udp[7] = 0xff, 0xff // 0 would say that there is none (RFC 768)
	}

	frame := append(append([]byte{}, to[:]...), from[:]...)
	if p.Src.Is4() {
		ip := []byte{0x45, 0}
		ip = binary.BigEndian.AppendUint16(ip, 20+length)
		ip = append(ip, 0, 0, 0x40, 0, probeTTL, protocolUDP, 0, 0) // not to be cut
		ip = append(append(ip, p.Src.AsSlice()...), p.Dst.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], internetSum(ip))
		return append(append(binary.BigEndian.AppendUint16(frame, etherTypeIPv4), ip...), udp...)
	}
	ip := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, length)
	ip = append(ip, protocolUDP, probeTTL)
	ip = append(append(ip, p.Src.AsSlice()...), p.Dst.AsSlice()...)
	return append(append(binary.BigEndian.AppendUint16(frame, etherTypeIPv6), ip...), udp...)
}

// internetSum is the checksum of RFC 1071.
func internetSum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		sum += uint32(c) << (8 * (1 - i&1))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum) //nolint:gosec // folded
}

// Probes are those that come to this host.
type Probes struct{ reader *ringbuf.Reader }

// Probes opens them. There may be one reader at a time.
func (p *Plane) Probes() (*Probes, error) {
	r, err := ringbuf.NewReader(p.objects.WeftProbes)
	if err != nil {
		return nil, fmt.Errorf("listen for probes without a tunnel: %w", err)
	}
	return &Probes{r}, nil
}

// ErrNoProbe is given by Next when none has come in time.
var ErrNoProbe = errors.New("no probe has come")

// Next waits for a probe until the time has come.
func (p *Probes) Next(until time.Time) (Probed, error) {
	p.reader.SetDeadline(until)
	record, err := p.reader.Read()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Probed{}, ErrNoProbe
	case err != nil:
		return Probed{}, fmt.Errorf("listen for probes without a tunnel: %w", err)
	}
	return parseProbed(record.RawSample)
}

// Close ends it.
func (p *Probes) Close() error { return p.reader.Close() }

// parseProbed reads struct probed of bpf/fastpath.c.
func parseProbed(b []byte) (Probed, error) {
	if len(b) < 64 {
		return Probed{}, fmt.Errorf("a probe without a tunnel is told in %d bytes", len(b))
	}
	out := Probed{VNI: binary.NativeEndian.Uint32(b[8:])}
	out.Nonce = binary.NativeEndian.Uint64(b)
	out.Answer = binary.NativeEndian.Uint32(b[12:]) == kindAnswer
	out.VTEP = netip.AddrFrom16([16]byte(b[16:])).Unmap()
	out.Src = netip.AddrFrom16([16]byte(b[32:])).Unmap()
	out.Dst = netip.AddrFrom16([16]byte(b[48:])).Unmap()
	return out, nil
}
