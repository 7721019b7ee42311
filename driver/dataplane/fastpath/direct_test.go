package fastpath

import (
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// trial runs a hook's program on a frame.
func trial(t *testing.T, plane *Plane, ns *netns.NS, hook Hook, f []byte) (verdict uint32, out []byte, words []uint32) {
	t.Helper()
	program, err := plane.program(hook, 4097)
	if err != nil {
		t.Fatal(err)
	}
	words = make([]uint32, ctxWords)
	run := ebpf.RunOptions{Data: f, DataOut: make([]byte, 1<<12), Context: make([]uint32, ctxWords), ContextOut: words}
	ns.Do(func() (err error) {
		verdict, err = program.Run(&run)
		return err
	})
	return verdict, run.DataOut, words
}

// What comes without a tunnel counts only if source, destination, network and the MAC of
// the host belong together.
func TestWhatComesDirectlyBelongsTogether(t *testing.T) {
	m := hosted()
	plane, ns := stand(t, m), netns.New(t)
	udp := func() []byte { return directly()[2] } // IPv4, to own4
	set := func(at int, b ...byte) []byte { f := udp(); copy(f[at:], b); return f }
	mac := func(at int, a overlay.MAC) []byte { return set(at, a[:]...) }
	from := func(f []byte, nic overlay.MAC) []byte { copy(f[6:], nic[:]); return f }
	for name, c := range map[string]struct {
		frame []byte
		mark  uint32 // 0: the host's stack has it
	}{
		"in order":                            {udp(), toPort},
		"IPv6 in order":                       {directly()[1], toPort},
		"to an address that no container has": {set(30, gone4.AsSlice()...), toBridge},
		"who has a member's MAC":              {from(udp(), otherNIC), toPort}, // as an attacker on the segment may
		"another network":                     {set(30, second4.AsSlice()...), 0},
		"another network's member":            {mac(6, thirdNIC), 0},
		"a spoofed source, at another host":   {set(26, other4.AsSlice()...), 0},
		"a spoofed source, of another network at the same host": {set(26, both4.AsSlice()...), 0},
		"a spoofed source, of another member":                   {set(26, also4.AsSlice()...), 0},
		"a member that spoofs another one's":                    {from(udp(), alsoNIC), 0},
		"a spoofed source, of this host":                        {set(26, near4.AsSlice()...), 0},
		"an unknown source":                                     {set(26, 10, 1, 0, 77), 0},
		"no source":                                             {set(26, 0, 0, 0, 0), 0},
		"a spoofed MAC":                                         {mac(6, overlay.MAC{2, 1, 1, 1, 1, 1}), 0},
		"a container's MAC":                                     {mac(6, farMAC), 0},
		"to all":                                                {mac(0, overlay.MAC{255, 255, 255, 255, 255, 255}), 0},
		"to a group":                                            {mac(0, overlay.MAC{1, 0, 0x5e, 0, 0, 1}), 0},
		"to another MAC":                                        {mac(0, ownMAC), 0},
		"with a tag":                                            {slices.Insert(udp(), 12, 0x81, 0, 0, 7), 0},
		"to another host's container":                           {set(30, far4.AsSlice()...), 0},
		"a fragment":                                            {set(20, 0x20), 0},
		"options":                                               {set(14, 0x46), 0},
		"ICMP":                                                  {set(23, 1), 0},
		"what a router has passed on":                           {set(22, 254), 0},
		"IPv6 that a router has passed on": {func() []byte {
			f := directly()[1]
			f[21] = 254
			return f
		}(), 0},
		"to the tunnels' port, and no probe": {set(36, 0x12, 0xb5), 0},
		"cut off in the header":              {udp()[:40], 0},
		"an address of IPv4 in IPv6": {func() []byte {
			f := directly()[1]
			a, b := far4.As16(), own4.As16()
			copy(f[22:], a[:])
			copy(f[38:], b[:])
			return f
		}(), 0},
	} {
		verdict, out, words := trial(t, plane, ns, FromWire, c.frame)
		switch {
		case c.mark == 0 && verdict != tcUnspec:
			t.Errorf("%s: verdict %d", name, verdict)
		case c.mark != 0 && (verdict != tcRedirect || words[ctxMark] != c.mark):
			t.Errorf("%s: verdict %d, mark %x", name, verdict, words[ctxMark])
		case c.mark != 0 && overlay.MAC(out[6:12]) != farMAC:
			t.Errorf("%s: comes from %x", name, out[6:12])
		}
	}
	if err := plane.Shut(); err != nil {
		t.Fatal(err)
	}
	if verdict, _, _ := trial(t, plane, ns, FromWire, udp()); verdict != tcRedirect {
		t.Errorf("right after an orderly stop: verdict %d", verdict)
	}
	if err := plane.Renew(-time.Second); err != nil {
		t.Fatal(err)
	}
	if verdict, _, _ := trial(t, plane, ns, FromWire, udp()); verdict != tcUnspec {
		t.Errorf("with tables that nobody keeps up: verdict %d", verdict)
	}
}

// A container's packets go directly only with a lease, and to whom the other host would
// give them.
func TestWhatMayGoDirectly(t *testing.T) {
	m := hosted()
	plane, ns := stand(t, m), netns.New(t)
	frame := func(at int, b ...byte) []byte {
		f := valid(m.networks[0].Ports[0], farMAC)[2]
		copy(f[at:], b)
		return f
	}
	goes := func(name string, f []byte, want uint32) {
		t.Helper()
		verdict, _, words := trial(t, plane, ns, FromPort, f)
		if verdict != tcRedirect || words[ctxMark] != want {
			t.Errorf("%s: verdict %d, mark %x, want %x", name, verdict, words[ctxMark], want)
		}
	}
	lease := func(d time.Duration) {
		t.Helper()
		if err := plane.Lease(4097, otherVTEP, otherNIC, d); err != nil {
			t.Fatal(err)
		}
	}
	goes("without a lease", frame(0), toWire)
	lease(time.Hour)
	goes("with a lease", frame(0), toNeighbour)
	goes("to an address that is not the MAC's", frame(30, next4.AsSlice()...), toWire)
	goes("to an address at another host", frame(30, also4.AsSlice()...), toWire)
	goes("to an address of another network", frame(30, both4.AsSlice()...), toWire)
	goes("to an address that nobody has", frame(30, 10, 1, 0, 77), toWire)
	goes("to an address outside, by a container that routes", frame(30, 203, 0, 113, 5), toWire)
	goes("with a TTL of its own", frame(22, 63), toWire)
	goes("to the tunnels' port, where probes go", frame(36, 0x12, 0xb5), toWire)
	lease(-time.Second)
	goes("when the lease is over", frame(0), toWire)
	lease(time.Hour)
	m.networks[0].Ports[0].Told = false
	if _, err := plane.SetNetwork(m.networks[0]); err != nil {
		t.Fatal(err)
	}
	goes("when the others may not know the source", frame(0), toWire)
	m.networks[0].Ports[0].Told = true
	if _, err := plane.SetNetwork(m.networks[0]); err != nil {
		t.Fatal(err)
	}
	goes("when they do", frame(0), toNeighbour)
	if err := plane.EndLease(4097, otherVTEP); err != nil {
		t.Fatal(err)
	}
	goes("after the lease was ended", frame(0), toWire)
}

// A probe is checked as any packet, and told of.
func TestProbesAreToldOf(t *testing.T) {
	m := hosted()
	plane, ns := stand(t, m), netns.New(t)
	probes, err := plane.Probes()
	if err != nil {
		t.Fatal(err)
	}
	defer probes.Close()
	for _, p := range []Probe{
		{Nonce: 7, Src: far4, Dst: own4}, {Answer: true, Nonce: 1 << 63, Src: far6, Dst: own6}, {Nonce: 9, Src: far4, Dst: gone4},
	} {
		f := p.Frame(otherNIC, overlay.MAC{}, 4789)
		if len(f) != 58 && len(f) != 78 {
			t.Errorf("%d bytes: %x", len(f), f)
		}
		if p.Src.Is4() && checksum(f[14:34]) != 0 {
			t.Errorf("wrong checksum of the IP header: %x", f)
		}
		if verdict, _, _ := trial(t, plane, ns, FromWire, f); verdict != tcShot {
			t.Errorf("%+v: verdict %d", p, verdict)
		}
		got, err := probes.Next(time.Now().Add(10 * time.Second))
		if want := (Probed{p, 4097, otherVTEP}); err != nil || got != want {
			t.Errorf("told of %+v, %v; want %+v", got, err, want)
		}
		copy(f[6:], thirdNIC[:])
		if verdict, _, _ := trial(t, plane, ns, FromWire, f); verdict != tcUnspec {
			t.Errorf("of a stranger: verdict %d", verdict)
		}
	}
	if got, err := probes.Next(time.Now()); err != ErrNoProbe { //nolint:errorlint // as it is
		t.Errorf("told of %+v, %v", got, err)
	}
}
