package fastpath

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// What make fastpath-fuzz says.
var (
	packets = flag.Int("packets", 150_000, "crafted packets, a fifth for each program and way")
	seed    = flag.Uint64("seed", 0, "what the packets depend on; 0: the time")
)

const (
	tcShot     = 2         // TC_ACT_SHOT of linux/pkt_cls.h
	tcRedirect = 7         // TC_ACT_REDIRECT
	tcUnspec   = 1<<32 - 1 // TC_ACT_UNSPEC

	toWire = 0x77656674 // TO_WIRE of bpf/fastpath.c
	toPort = 0x77656675 // TO_PORT

	toNeighbour = 0x77656676 // TO_NEIGHBOUR
	toBridge    = 0x77656677 // TO_BRIDGE

	// Words of struct __sk_buff of linux/bpf.h.
	ctxWords   = 48
	ctxMark    = 12 // cb[0]
	ctxGSOSegs = 41
	ctxGSOSize = 44
)

var (
	ownMAC    = overlay.MAC{2, 0, 10, 1, 0, 1}
	nearMAC   = overlay.MAC{2, 0, 10, 1, 0, 2}
	farMAC    = overlay.MAC{2, 0, 10, 1, 0, 9}
	strange   = overlay.MAC{2, 0, 10, 1, 0, 7}
	otherOwn  = overlay.MAC{2, 0, 10, 2, 0, 1}
	otherFar  = overlay.MAC{2, 0, 10, 2, 0, 9}
	own4      = netip.MustParseAddr("10.1.0.1")
	own6      = netip.MustParseAddr("fd01::1")
	thisVTEP  = netip.MustParseAddr("192.0.2.1")
	otherVTEP = netip.MustParseAddr("192.0.2.9")
	thirdVTEP = netip.MustParseAddr("192.0.2.8") // has the second network only
	alsoVTEP  = netip.MustParseAddr("192.0.2.6") // has the first network, as otherVTEP has

	thisNIC  = overlay.MAC{2, 0, 192, 0, 2, 1}
	otherNIC = overlay.MAC{2, 0, 192, 0, 2, 9}
	thirdNIC = overlay.MAC{2, 0, 192, 0, 2, 8}
	alsoNIC  = overlay.MAC{2, 0, 192, 0, 2, 6}
	also4    = netip.MustParseAddr("10.1.0.6") // at alsoVTEP
	next4    = netip.MustParseAddr("10.1.0.8") // at otherVTEP, with a MAC of its own
	near4    = netip.MustParseAddr("10.1.0.2")
	gone4    = netip.MustParseAddr("10.1.0.3") // of this host, and no container has it
	far4     = netip.MustParseAddr("10.1.0.9")
	far6     = netip.MustParseAddr("fd01::9")
	second4  = netip.MustParseAddr("10.2.0.1") // of the second network, here
	other4   = netip.MustParseAddr("10.2.0.9") // likewise, at thirdVTEP
	both4    = netip.MustParseAddr("10.2.0.7") // likewise, at otherVTEP
)

// hosted is a host with two networks, whose ports are the loopback link of their
// namespaces. Of the first one the programs are looked at. Both have a container of the
// MAC nearMAC, at different links.
func hosted() model {
	return model{
		host: Host{VTEP: thisVTEP, Port: 4789, Uplink: 1, MAC: thisNIC}, hooked: 4097,
		networks: []Network{{
			VNI: 4097, Inner: 1, Outer: 1, Tunnel: 1, Members: []netip.Addr{otherVTEP},
			Ports:  []Port{{Link: 1, MTU: 1450, MAC: ownMAC, Addrs: []netip.Addr{own4, own6}, Told: true}},
			Places: []Place{{MAC: ownMAC, Link: 1}, {MAC: nearMAC, Link: 2}, {MAC: farMAC, VTEP: otherVTEP}},
			Homes: []Home{
				{Addr: own4, MAC: ownMAC, Here: true, Link: 1},
				{Addr: own6, MAC: ownMAC, Here: true, Link: 1},
				{Addr: near4, MAC: nearMAC, Here: true, Link: 2},
				{Addr: gone4, MAC: strange, Here: true},
				{Addr: far4, MAC: farMAC, VTEP: otherVTEP},
				{Addr: far6, MAC: farMAC, VTEP: otherVTEP},
				{Addr: next4, MAC: otherFar, VTEP: otherVTEP},
				{Addr: also4, MAC: strange, VTEP: alsoVTEP},
			},
			NICs: []NIC{{MAC: otherNIC, VTEP: otherVTEP}, {MAC: alsoNIC, VTEP: alsoVTEP}},
		}, {
			VNI: 4098, Inner: 1, Outer: 1, Tunnel: 1, Members: []netip.Addr{thirdVTEP},
			Ports:  []Port{{Link: 1, MTU: 1450, MAC: otherOwn, Addrs: []netip.Addr{own4, own6}}},
			Places: []Place{{MAC: otherOwn, Link: 1}, {MAC: nearMAC, Link: 3}, {MAC: otherFar, VTEP: thirdVTEP}},
			Homes: []Home{
				{Addr: second4, MAC: otherOwn, Here: true, Link: 3},
				{Addr: other4, MAC: otherFar, VTEP: thirdVTEP},
				{Addr: both4, MAC: farMAC, VTEP: otherVTEP},
			},
			NICs: []NIC{{MAC: thirdNIC, VTEP: thirdVTEP}, {MAC: otherNIC, VTEP: otherVTEP}},
		}},
	}
}

// stand puts the networks into the kernel's tables.
func stand(t *testing.T, m model) *Plane {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := p.SetHost(m.host); err != nil {
		t.Fatal(err)
	}
	if err := p.Renew(24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.networks {
		if _, err := p.SetNetwork(n); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// shots are packets for one program, which of them may pass, and what becomes of these.
type shots struct {
	hook   Hook
	name   string
	valid  [][]byte
	may    func(f []byte, gso int) string
	passed func(in, out []byte, words []uint32) error
}

// score is what came of them.
type score struct {
	played, fast int
	broken       map[string]int // rules that those broke which passed
	left         map[string]int // rules that those broke which did not; "" for none
}

func TestNoProgramLetsPassWhatItMustNot(t *testing.T) {
	m := hosted()
	plane, ns := stand(t, m), netns.New(t)
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	}
	own, other := m.networks[0].Ports[0], m.networks[1].Ports[0]
	sent := Port{MAC: farMAC, Addrs: own.Addrs}
	var wires [][]byte
	for _, f := range valid(sent, nearMAC) {
		wires = append(wires, tunnelled(f, 4097, otherVTEP), tunnelled(f, 4098, thirdVTEP))
	}
	leased := m
	leased.leased = otherNIC
	for i, s := range []shots{
		{FromPort, "", slices.Concat(valid(own, farMAC), valid(own, nearMAC)), m.mayLeave, m.left},
		{FromTunnel, "", valid(sent, nearMAC), m.mayCome, m.came},
		{FromWire, "", wires, m.mayEnter, m.entered},
		{FromPort, "_direct", slices.Concat(valid(own, farMAC), valid(own, nearMAC)), m.mayLeave, leased.left},
		{FromWire, "_direct", directly(), m.mayEnter, m.entered},
	} {
		t.Run(s.hook.String()+s.name, func(t *testing.T) {
			if s.name != "" {
				if err := plane.Lease(m.hooked, otherVTEP, otherNIC, 24*time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			program, err := plane.program(s.hook, m.hooked)
			if err != nil {
				t.Fatal(err)
			}
			p := press{
				Rand:  rand.New(rand.NewPCG(from, uint64(i))), //nolint:gosec // an index; and whoever has the seed is to get the same
				macs:  []overlay.MAC{own.MAC, other.MAC, nearMAC, farMAC, otherFar, strange, otherNIC, thirdNIC, alsoNIC, {1, 0, 0x5e, 0, 0, 1}, {255, 255, 255, 255, 255, 255}, {}},
				addrs: append([]netip.Addr{near4, gone4, far4, far6, also4, next4, second4, other4, both4, netip.IPv4Unspecified(), netip.MustParseAddr("fd01::2"), netip.IPv6Unspecified(), netip.MustParseAddr("::ffff:10.1.0.1")}, own.Addrs...),
				vteps: []netip.Addr{thisVTEP, otherVTEP, thirdVTEP, netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("224.0.0.1")},
				vnis:  []uint32{4097, 4098, 4099, 0, 1<<24 - 1},
			}
			if s.hook == FromWire && s.name == "" {
				p.at = 50
			}
			var got score
			began := time.Now()
			err = ns.Run(func() (err error) {
				got, err = s.play(p, program, *packets/5)
				return err
			})
			if err != nil {
				t.Fatalf("seed %d: %v", from, err)
			}
			t.Logf("seed %d: %d packets in %v, %d of them took the fast path, of which the slow way would have dropped %v", from, got.played, time.Since(began).Round(time.Millisecond), got.fast, got.broken)
			t.Logf("the slow way was left %v", got.left)
		})
	}
}

func (s shots) play(p press, program *ebpf.Program, count int) (score, error) {
	out := score{broken: map[string]int{}, left: map[string]int{}}
	room, result := make([]byte, 1<<14), make([]uint32, ctxWords)
	for i := 0; out.played < count; i++ {
		f, gso, crafted := s.valid[i%len(s.valid)], 0, i >= len(s.valid)
		if crafted {
			f, gso = p.mangle(f)
		}
		words := make([]uint32, ctxWords)
		if gso > 0 {
			words[ctxGSOSize], words[ctxGSOSegs] = uint32(gso), 2 //nolint:gosec // bounded
		}
		run := ebpf.RunOptions{Data: f, DataOut: room, Context: words, ContextOut: result}
		verdict, err := program.Run(&run)
		if errors.Is(err, unix.EINVAL) && len(f) < 54 {
			continue // the kernel makes no packet of bytes that are too few for their EtherType
		}
		if err != nil {
			return out, fmt.Errorf("%x: %w", f, err)
		}
		out.played++
		breaks := s.may(f, gso)
		switch verdict {
		case tcRedirect:
			out.fast++
			if breaks != "" && !slices.Contains(tame, breaks) {
				return out, fmt.Errorf("passed, and is %s: %x, in pieces of %d", breaks, f, gso)
			}
			if breaks != "" {
				out.broken[breaks]++
			}
			if err := s.passed(f, run.DataOut, result); err != nil {
				return out, fmt.Errorf("passed: %x, in pieces of %d: %w", f, gso, err)
			}
		case tcUnspec:
			out.left[breaks]++
			if !crafted {
				return out, fmt.Errorf("does not take the fast path: %x", f)
			}
			if !bytes.Equal(run.DataOut, f) {
				return out, fmt.Errorf("goes the slow way as another packet: %x became %x", f, run.DataOut)
			}
		case tcShot:
			if breaks != forWeft {
				return out, fmt.Errorf("taken for a probe: %x", f)
			}
		default:
			return out, fmt.Errorf("verdict %d, and a program drops nothing: %x", verdict, f)
		}
	}
	return out, nil
}

// What no program has sent there passes neither end of a network's pair.
func TestNothingComesThroughThePairBesides(t *testing.T) {
	m := hosted()
	plane, ns := stand(t, m), netns.New(t)
	for _, row := range []struct {
		hook  Hook
		marks []uint32
	}{{ToWire, []uint32{toWire, toNeighbour}}, {ToPort, []uint32{toPort, toBridge}}} {
		hook := row.hook
		program, err := plane.program(hook, m.hooked)
		if err != nil {
			t.Fatal(err)
		}
		for _, given := range []uint32{0, 1, toWire, toPort, toNeighbour, toBridge, toWire ^ 1<<8} {
			want := uint32(tcShot)
			if slices.Contains(row.marks, given) {
				want = tcRedirect
			}
			words := make([]uint32, ctxWords)
			words[ctxMark], words[ctxMark+1] = given, 2
			ns.Do(func() error {
				got, err := program.Run(&ebpf.RunOptions{Data: valid(m.networks[0].Ports[0], nearMAC)[0], Context: words})
				if got != want {
					t.Errorf("%s gives %d to what is marked %x, and not %d", hook, got, given, want)
				}
				return err
			})
		}
	}
}

// The model is no copy of the programs: it refuses for each reason.
func TestTheModelRefuses(t *testing.T) {
	m := hosted()
	port := m.networks[0].Ports[0]
	frame := func() []byte { return valid(port, farMAC)[2] } // UDP over IPv4
	wire := func() []byte {
		return tunnelled(valid(Port{MAC: farMAC, Addrs: port.Addrs}, nearMAC)[0], 4097, otherVTEP)
	}
	sends := func(at int, b ...byte) string { f := frame(); copy(f[at:], b); return m.mayLeave(f, 0) }
	enters := func(at int, b ...byte) string { f := wire(); copy(f[at:], b); return m.mayEnter(f, 0) }
	mended := func(at int, b ...byte) string { f := wire(); copy(f[at:], b); return m.mayEnter(refit(f), 0) }
	for name, c := range map[string]struct{ got, want string }{
		"a frame in order":            {m.mayLeave(frame(), 0), ""},
		"a packet in order":           {m.mayEnter(wire(), 0), ""},
		"another's MAC":               {sends(6, nearMAC[:]...), notItsOwn},
		"another's address":           {sends(26, 10, 1, 0, 2), notItsOwn},
		"ICMP":                        {sends(23, 1), noSuchKind},
		"a first fragment":            {sends(20, 0x20), noSuchKind},
		"a later fragment":            {sends(21, 1), noSuchKind},
		"options":                     {sends(14, 0x46), noSuchKind},
		"a tag":                       {sends(12, 0x81), noSuchKind},
		"a DHCP server's answer":      {sends(36, 0, 68), serversOnly},
		"to a stranger":               {sends(0, strange[:]...), nowhere},
		"to itself":                   {sends(0, ownMAC[:]...), toItself},
		"large":                       {m.mayLeave(append(frame(), make([]byte, 1391)...), 0), tooLarge},
		"as large as may be":          {m.mayLeave(append(frame(), make([]byte, 1390)...), 0), ""},
		"in large pieces":             {m.mayLeave(frame(), 1423), tooLarge},
		"in pieces":                   {m.mayLeave(frame(), 1422), ""},
		"a packet in pieces":          {m.mayEnter(wire(), 1400), severalInOne},
		"to another VTEP":             {enters(30, 192, 0, 2, 2), nowhere},
		"to another interface":        {enters(0, 2), notForUs},
		"to another port":             {enters(37, 0), notForUs},
		"from no member":              {mended(26, thirdVTEP.AsSlice()...), noMember},
		"into another network":        {enters(48, 2), noMember},
		"into none":                   {enters(48, 9), noMember},
		"with options of VXLAN":       {enters(42, 0x88), notATunnel},
		"a length":                    {enters(38, 1), lies},
		"congestion":                  {mended(15, 3), congested},
		"to a container elsewhere":    {enters(50, farMAC[:]...), nowhere},
		"ARP":                         {enters(62, 8, 6), noSuchKind},
		"a checksum":                  {enters(24, 1), badChecksum},
		"a checksum of UDP":           {enters(40, 1), badChecksum},
		"bits after the VNI":          {enters(49, 1), reservedBits},
		"from a group":                {enters(56, 1), noStation},
		"larger than the network":     {m.mayEnter(refit(append(wire(), make([]byte, 1400)...)), 0), beyondMTU},
		"a fragment of the tunnel's":  {mended(20, 0x20), notATunnel},
		"cut off in the inner header": {m.mayEnter(refit(wire()[:63]), 0), notATunnel},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q and not %q", name, strings.TrimSpace(c.got), c.want)
		}
	}
}
