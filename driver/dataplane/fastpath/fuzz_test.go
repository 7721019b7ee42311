package fastpath

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// frames is how many crafted packets each program gets.
var frames = flag.Int("frames", 50_000, "crafted packets for each program")

const (
	testVNI    = 4097
	tcRedirect = 7         // TC_ACT_REDIRECT of linux/pkt_cls.h
	tcUnspec   = 1<<32 - 1 // TC_ACT_UNSPEC
)

var (
	ownMAC    = overlay.MAC{2, 0, 10, 1, 0, 1}
	nearMAC   = overlay.MAC{2, 0, 10, 1, 0, 2}
	farMAC    = overlay.MAC{2, 0, 10, 1, 0, 9}
	own4      = netip.MustParseAddr("10.1.0.1")
	own6      = netip.MustParseAddr("fd01::1")
	thisVTEP  = netip.MustParseAddr("192.0.2.1")
	otherVTEP = netip.MustParseAddr("192.0.2.9")
)

// stand is a host with one network, whose port is the loopback link of a namespace.
func stand(t *testing.T) (*Plane, *netns.NS) {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := p.SetHost(Host{VTEP: thisVTEP, Port: 4789, Uplink: 1}); err != nil {
		t.Fatal(err)
	}
	if err := p.Renew(time.Hour); err != nil {
		t.Fatal(err)
	}
	_, err = p.SetNetwork(Network{
		VNI: testVNI, Inner: 1, Outer: 1, Members: []netip.Addr{otherVTEP},
		Ports:  []Port{{Link: 1, MTU: 1450, MAC: ownMAC, Addrs: []netip.Addr{own4, own6}}},
		Places: []Place{{MAC: ownMAC, Link: 1}, {MAC: nearMAC, Link: 2}, {MAC: farMAC, VTEP: otherVTEP}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, netns.New(t)
}

// verdict runs a program once, on a packet of the namespace's link 1. The kernel makes
// no packet of some bytes that are too few for their EtherType.
func verdict(p *ebpf.Program, frame []byte) (out uint32, ran bool, err error) {
	out, err = p.Run(&ebpf.RunOptions{Data: frame})
	if errors.Is(err, unix.EINVAL) && len(frame) < 54 {
		return 0, false, nil
	}
	return out, true, err
}

// valid are packets that a container may send.
func valid(dst overlay.MAC) [][]byte {
	var out [][]byte
	for _, protocol := range []byte{6, 17} {
		four := ether(dst, ownMAC, 0x0800)
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, protocol
		copy(ip[12:], own4.AsSlice())
		copy(ip[16:], []byte{10, 1, 0, 9})
		four = append(append(four, ip...), transport(protocol)...)
		binary.BigEndian.PutUint16(four[16:], uint16(len(four)-14))
		six := ether(dst, ownMAC, 0x86dd)
		ip = make([]byte, 40)
		ip[0], ip[6], ip[7] = 0x60, protocol, 64
		copy(ip[8:], own6.AsSlice())
		six = append(append(six, ip...), transport(protocol)...)
		binary.BigEndian.PutUint16(six[18:], uint16(len(six)-54))
		out = append(out, four, six)
	}
	return out
}

func transport(protocol byte) []byte {
	b := make([]byte, 40)
	copy(b, []byte{0x12, 0x34, 0x1b, 0x58})
	if protocol == 6 {
		b[12] = 0x50
	}
	return b
}

func ether(dst, src overlay.MAC, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(slices.Concat(dst[:], src[:]), kind)
}

// tunnelled is a frame as another host sends it.
func tunnelled(frame []byte) []byte {
	out := ether(overlay.MAC{}, overlay.MAC{}, 0x0800)
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	copy(ip[12:], otherVTEP.AsSlice())
	copy(ip[16:], thisVTEP.AsSlice())
	udp := []byte{0x80, 1, 0x12, 0xb5, 0, 0, 0, 0}
	vxlan := []byte{8, 0, 0, 0, 0, testVNI >> 8, testVNI & 0xff, 0}
	out = slices.Concat(out, ip, udp, vxlan, frame)
	binary.BigEndian.PutUint16(out[16:], uint16(len(out)-14))
	binary.BigEndian.PutUint16(out[38:], uint16(len(out)-34))
	return out
}

// maySend says, in other words than the program, whether the guard of the port lets a
// packet pass that the fast path is for.
func maySend(f []byte) bool {
	if len(f) < 34 || len(f)-14 > 1450 || overlay.MAC(f[6:12]) != ownMAC {
		return false
	}
	if dst := overlay.MAC(f[:6]); dst != nearMAC && dst != farMAC && dst != ownMAC {
		return false
	}
	var protocol byte
	var rest []byte
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0800:
		src, _ := netip.AddrFromSlice(f[26:30])
		if f[14] != 0x45 || binary.BigEndian.Uint16(f[20:])&0x3fff != 0 || src != own4 {
			return false
		}
		protocol, rest = f[23], f[34:]
	case 0x86dd:
		if len(f) < 54 {
			return false
		}
		src, _ := netip.AddrFromSlice(f[22:38])
		if f[14]>>4 != 6 || src != own6 {
			return false
		}
		protocol, rest = f[20], f[54:]
	default:
		return false
	}
	switch protocol {
	case 6:
		return len(rest) >= 20
	case 17:
		to := uint16(0)
		if len(rest) >= 8 {
			to = binary.BigEndian.Uint16(rest[2:])
		}
		return len(rest) >= 8 && to != 68 && to != 546
	}
	return false
}

// mayEnter says the same of what comes from the wire.
func mayEnter(f []byte) bool {
	if len(f) < 64 || binary.BigEndian.Uint16(f[12:]) != 0x0800 {
		return false
	}
	src, _ := netip.AddrFromSlice(f[26:30])
	dst, _ := netip.AddrFromSlice(f[30:34])
	if f[14] != 0x45 || binary.BigEndian.Uint16(f[20:])&0x3fff != 0 || f[23] != 17 || src != otherVTEP || dst != thisVTEP || f[15]&3 == 3 {
		return false
	}
	if int(binary.BigEndian.Uint16(f[16:])) != len(f)-14 || int(binary.BigEndian.Uint16(f[38:])) != len(f)-34 || binary.BigEndian.Uint16(f[36:]) != 4789 {
		return false
	}
	if !slices.Equal(f[42:46], []byte{8, 0, 0, 0}) || !slices.Equal(f[46:49], []byte{0, testVNI >> 8, testVNI & 0xff}) {
		return false
	}
	kind := binary.BigEndian.Uint16(f[62:])
	to := overlay.MAC(f[50:56])
	return (kind == 0x0800 || kind == 0x86dd) && (to == ownMAC || to == nearMAC)
}

// mangle changes some bytes, most of them in headers, or the length.
func mangle(r *rand.Rand, f []byte) []byte {
	out := slices.Clone(f)
	for range r.IntN(3) {
		switch r.IntN(8) {
		case 0:
			out = out[:15+r.IntN(len(out)-14)]
		case 1:
			out = append(out, make([]byte, r.IntN(1500))...)
		case 2:
			out[r.IntN(len(out))] ^= 1 << r.IntN(8)
		default:
			out[r.IntN(min(len(out), 64))] = byte(r.IntN(256))
		}
	}
	return out
}

func TestNoProgramLetsPassWhatItMustNot(t *testing.T) {
	plane, ns := stand(t)
	from, err := plane.program(FromPort, testVNI)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := plane.program(FromTunnel, testVNI)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]shots{
		"what a container sends": {from, slices.Concat(valid(farMAC), valid(nearMAC)), maySend},
		"what the tunnel gives": {tunnel, valid(nearMAC), func(f []byte) bool {
			kind := binary.BigEndian.Uint16(f[12:])
			return (kind == 0x0800 || kind == 0x86dd) && (overlay.MAC(f[:6]) == nearMAC || overlay.MAC(f[:6]) == ownMAC)
		}},
		"what comes by the wire": {plane.objects.WeftFromWire, wires(), mayEnter},
	} {
		t.Run(name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
			passed := 0
			err := ns.Run(func() (err error) {
				passed, err = s.play(rand.New(rand.NewPCG(seed, 0)))
				return err
			})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			t.Logf("%d of %d packets took the fast path", passed, *frames)
		})
	}
}

// shots are packets for one program, and who of them may pass.
type shots struct {
	program *ebpf.Program
	valid   [][]byte
	may     func([]byte) bool
}

func (s shots) play(r *rand.Rand) (passed int, err error) {
	for i := range *frames {
		f := s.valid[i%len(s.valid)]
		crafted := i >= len(s.valid)
		if crafted {
			f = mangle(r, f)
		}
		got, ran, err := verdict(s.program, f)
		switch {
		case err != nil:
			return passed, fmt.Errorf("%x: %w", f, err)
		case !ran:
		case got == tcRedirect && !s.may(f):
			return passed, fmt.Errorf("passed, and must not: %x", f)
		case got == tcRedirect:
			passed++
		case got != tcUnspec:
			return passed, fmt.Errorf("verdict %d, and a program drops nothing: %x", got, f)
		case !crafted:
			return passed, fmt.Errorf("does not take the fast path: %x", f)
		}
	}
	return passed, nil
}

func wires() (out [][]byte) {
	for _, f := range valid(nearMAC) {
		out = append(out, tunnelled(f))
	}
	return out
}
