package peers

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// killed is a host that sees h2, whose weft was killed on a machine that lives: its
// lease has ended, and its machine refuses connections.
type killed struct {
	*Peers
	t       *testing.T
	now     time.Time
	doc     record.HostDoc // h2's record
	changed bool           // others were told that something has changed
}

func newKilled(t *testing.T) *killed {
	t.Helper()
	k := newSilent(t, true)
	k.endLease()
	if !k.hosts["h2"].Down || !k.sentTo() {
		t.Fatalf("h2 is down: %v, and sent to: %v", k.hosts["h2"].Down, k.sentTo())
	}
	return k
}

// newSilent is a host that has not heard h2 for so long that its names may go. refuses
// says whether h2's machine refused connections meanwhile.
func newSilent(t *testing.T, refuses bool) *killed {
	t.Helper()
	k := newPeer(t)
	k.see(record.HostUpdate{Live: true, Lease: 1})
	if !k.Hear(Beat{Host: "h2", Incarnation: "before", Number: 1<<32 + 1}, keys.Ring{}, k.now).Counts {
		t.Fatal("h2 is not heard")
	}
	for range silentTicks {
		k.tick(refuses)
	}
	return k
}

// newPeer is a host that has not seen or heard h2 yet.
func newPeer(t *testing.T) *killed {
	t.Helper()
	self := overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Push: netip.MustParseAddrPort("192.0.2.1:7947")}
	return &killed{Peers: New(self, time.Minute), t: t, now: time.Unix(1000, 0), doc: record.HostDoc{Runs: 1, Host: overlay.Host{
		Name: "h2", Incarnation: "before", VTEP: netip.MustParseAddr("192.0.2.2"), Push: netip.MustParseAddrPort("192.0.2.2:7947"),
	}}}
}

// endLease has h2's lease end, until h2 is down.
func (k *killed) endLease() {
	k.t.Helper()
	k.see(record.HostUpdate{Lease: 1})
	k.Judge(k.now.Add(SilentDownAfter), true)
}

// see is what the store says of h2 now.
func (k *killed) see(u record.HostUpdate) {
	k.t.Helper()
	u.Doc = k.doc
	if _, err := k.Update(map[string]record.HostUpdate{"h2": u}, k.now); err != nil {
		k.t.Fatal(err)
	}
}

// tick is a tick of silence, in which h2's machine may refuse a connection.
func (k *killed) tick(refuses bool) {
	k.now = k.now.Add(SilenceTick)
	_, silence := k.CountSilence(k.now)
	if refuses {
		for _, host := range k.Quiet() {
			k.MachineAnswers(host, true)
		}
	}
	_, _, judged := k.Judge(k.now, true)
	k.changed = k.changed || silence || judged
}

func (k *killed) sentTo() bool { return k.SentTo("h2", k.now) }

// A weft that begins with a new state writes its record before it has its lease and
// before what it says can count. Its containers have run all the time.
func TestAHostWithANewStateIsSentToBeforeItHasItsLease(t *testing.T) {
	k := newKilled(t)
	for range vacantTicks / 2 { // it listens, and has written nothing
		k.tick(false)
	}
	k.doc.Incarnation, k.doc.Seq = "after", 1
	k.see(record.HostUpdate{Lease: 1})
	for i := range vacantTicks - 1 {
		if !k.sentTo() {
			t.Fatalf("nothing is sent to h2 %d ticks after its new record was seen", i)
		}
		k.tick(false)
	}
	k.see(record.HostUpdate{Live: true, Lease: 2})
	k.Judge(k.now, true)
	if !k.sentTo() || k.hosts["h2"].Down {
		t.Error("h2 has its lease, and nothing is sent to it")
	}
}

// The same weft ends before it has its lease.
func TestAHostWithANewStateIsSentToWhileItsMachineAnswers(t *testing.T) {
	k := newKilled(t)
	k.doc.Incarnation = "after"
	k.see(record.HostUpdate{Lease: 1})
	for i := range 3 * vacantTicks {
		if k.tick(true); !k.sentTo() {
			t.Fatalf("nothing is sent to h2 %d ticks after its new record was seen", i)
		}
	}
	k.changed = false
	for range vacantTicks {
		k.tick(false)
	}
	if k.sentTo() {
		t.Error("h2 is sent to, and its machine does not answer")
	}
	if !k.changed {
		t.Error("nobody is told that nothing is sent to h2 any more")
	}
}

// A new record brings nobody back who is not sent to, and does not put off the time
// from which h2's addresses may be others'.
func TestANewStateAloneBringsNoHostBack(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*killed)
		update record.HostUpdate
	}{
		"its machine did not answer": {before: func(k *killed) {
			for range vacantTicks {
				k.tick(false)
			}
		}},
		"it has another address": {before: func(k *killed) { k.doc.VTEP = netip.MustParseAddr("192.0.2.3") }},
		"it listens elsewhere":   {before: func(k *killed) { k.doc.Push = netip.MustParseAddrPort("192.0.2.3:7947") }},
		"it was declared dead":   {before: func(*killed) {}, update: record.HostUpdate{Marked: true}},
		"it may be reaped": {before: func(k *killed) {
			p := k.hosts["h2"]
			p.Since = k.now.Add(-time.Minute)
			k.hosts["h2"] = p
		}},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKilled(t)
			c.before(k)
			k.doc.Incarnation, c.update.Lease = "after", 1
			k.see(c.update)
			for range vacantTicks {
				if k.sentTo() {
					t.Fatal("h2 is sent to")
				}
				k.tick(true)
			}
		})
	}
}
