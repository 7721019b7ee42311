package peers

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// A host that is down is sent to while only its weft is dead, but not when any host
// may free its addresses.
func TestAVacantHostIsSentToUntilItMayBeReaped(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Peer, *link)
		reap   time.Duration
		want   bool
	}{
		"its machine answers":     {func(*Peer, *link) {}, time.Minute, true},
		"it is never reaped":      {func(p *Peer, _ *link) { p.Since = time.Unix(1, 0) }, 0, true},
		"its weft is heard again": {func(p *Peer, l *link) { l.quiet, p.answers = 0, 0 }, time.Minute, true},
		"it does not answer":      {func(p *Peer, _ *link) { p.answers = 0 }, time.Minute, false},
		"it may be reaped":        {func(p *Peer, _ *link) { p.Since = time.Now().Add(-time.Minute) }, time.Minute, false},
		"it was declared dead":    {func(p *Peer, _ *link) { p.returning = true }, time.Minute, false},
		"it shuts down":           {func(p *Peer, _ *link) { p.Away = true }, time.Minute, false},
		"it is another by now":    {func(p *Peer, l *link) { l.incarnation, l.quiet, p.answers = "before", 0, 0 }, time.Minute, false},
		"it is down no more":      {func(p *Peer, _ *link) { p.Down, p.answers = false, 0 }, time.Minute, true},
		"it was never heard here": {func(p *Peer, l *link) { *l, p.answers = link{}, 0 }, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			push := netip.MustParseAddrPort("192.0.2.1:7947")
			p := Peer{HostDoc: record.HostDoc{Host: overlay.Host{Name: "h2", Incarnation: "i", Push: push}}, Down: true, Since: time.Now().Add(-time.Second), vacant: vacantTicks, answers: vacantTicks}
			l := &link{incarnation: "i", heard: time.Now(), quiet: silentTicks}
			c.change(&p, l)
			all := New(overlay.Host{Push: push}, c.reap)
			all.hosts["h2"], all.links["h2"] = p, l
			if got := all.SentTo("h2", time.Now()); got != c.want {
				t.Errorf("sent to: %v", got)
			}
		})
	}
}

// The way to a host was cut when its weft was killed, and is there again before its lease
// ends. Its machine may have started anew meanwhile, so its names do not come back. But
// its packets have never stopped, and go on.
func TestAMachineThatAnswersAgainKeepsItsPacketsAndNotItsNames(t *testing.T) {
	k := newSilent(t, false)
	if !k.nameless("h2") || !k.sentTo() {
		t.Fatalf("h2 has no names: %v, and is sent to: %v", k.nameless("h2"), k.sentTo())
	}
	k.tick(true)
	k.endLease()
	for range 3 * vacantTicks {
		if k.tick(true); !k.nameless("h2") || !k.sentTo() {
			t.Fatalf("h2 has no names: %v, and is sent to: %v", k.nameless("h2"), k.sentTo())
		}
	}
	for range vacantTicks {
		k.tick(false)
	}
	if k.sentTo() {
		t.Error("h2 is sent to, and its machine does not answer")
	}
	for range vacantTicks {
		if k.tick(true); k.sentTo() {
			t.Fatal("h2 is sent to again before its weft is heard")
		}
	}
}

// A machine that does not answer is asked as long as packets go there.
func TestAHostThatIsDownIsAskedNoMore(t *testing.T) {
	k := newSilent(t, false)
	if len(k.Quiet()) != 1 {
		t.Error("the machine of a host that is silent and not down is not asked")
	}
	k.endLease()
	if k.tick(false); len(k.Quiet()) != 0 || k.sentTo() {
		t.Errorf("of a host that is down, %d are asked, and it is sent to: %v", len(k.Quiet()), k.sentTo())
	}
}

// A weft that hangs until its lease has ended: its machine takes connections and refuses
// none. Its names go, and its packets go on until it may be reaped.
func TestAHostWhoseWeftHangsKeepsItsPacketsAndNotItsNames(t *testing.T) {
	k := newSilent(t, false)
	hangs := func() {
		for _, host := range k.Quiet() {
			k.MachineAnswers(host, false)
		}
		k.tick(false)
	}
	hangs()
	k.endLease()
	for range 3 * vacantTicks {
		if hangs(); !k.hosts["h2"].Down || !k.nameless("h2") || !k.sentTo() {
			t.Fatalf("h2 is down: %v, has no names: %v, and is sent to: %v", k.hosts["h2"].Down, k.nameless("h2"), k.sentTo())
		}
	}
	k.now = k.now.Add(time.Minute)
	if k.sentTo() {
		t.Error("h2 is sent to when its addresses may be another's")
	}
}

// A process that starts while another host's weft is dead has never heard that one. It
// sends to it as long as its machine answers, and no longer.
func TestAProcessThatStartsAsksTheMachinesOfHostsWithoutALease(t *testing.T) {
	for name, answers := range map[string]bool{"its machine lives": true, "its machine is dead": false} {
		k := newPeer(t)
		k.see(record.HostUpdate{Lease: 1})
		began := k.now
		for k.now.Sub(began) < 2*DownAfter {
			k.tick(answers)
			if down := k.hosts["h2"].Down; k.sentTo() != (answers || !down) {
				t.Fatalf("%s: after %v it is down: %v, and sent to: %v", name, k.now.Sub(began), down, k.sentTo())
			}
		}
		if !k.hosts["h2"].Down {
			t.Errorf("%s: it is not down", name)
		}
		for range vacantTicks {
			k.tick(false)
		}
		if k.sentTo() || len(k.Quiet()) > 0 {
			t.Errorf("%s: it is sent to: %v, and %d are asked, though it does not answer", name, k.sentTo(), len(k.Quiet()))
		}
	}
}
