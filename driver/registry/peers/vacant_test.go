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
		"its weft is heard again": {func(p *Peer, l *link) { l.quiet, p.vacant = 0, 0 }, time.Minute, true},
		"it does not answer":      {func(p *Peer, _ *link) { p.vacant = 0 }, time.Minute, false},
		"it may be reaped":        {func(p *Peer, _ *link) { p.Since = time.Now().Add(-time.Minute) }, time.Minute, false},
		"it was declared dead":    {func(p *Peer, _ *link) { p.returning = true }, time.Minute, false},
		"it shuts down":           {func(p *Peer, _ *link) { p.Away = true }, time.Minute, false},
		"it is another by now":    {func(p *Peer, l *link) { l.incarnation, l.quiet, p.vacant = "before", 0, 0 }, time.Minute, false},
		"it is down no more":      {func(p *Peer, _ *link) { p.Down, p.vacant = false, 0 }, time.Minute, true},
		"it was never heard here": {func(p *Peer, l *link) { *l, p.vacant = link{}, 0 }, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			push := netip.MustParseAddrPort("192.0.2.1:7947")
			p := Peer{HostDoc: record.HostDoc{Host: overlay.Host{Name: "h2", Incarnation: "i", Push: push}}, Down: true, Since: time.Now().Add(-time.Second), vacant: vacantTicks}
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
