package registry

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
		change func(*peer, *link)
		reap   time.Duration
		want   bool
	}{
		"its machine answers":     {func(*peer, *link) {}, time.Minute, true},
		"it is never reaped":      {func(p *peer, _ *link) { p.since = time.Unix(1, 0) }, 0, true},
		"its weft is heard again": {func(p *peer, l *link) { l.quiet, p.vacant = 0, 0 }, time.Minute, true},
		"it does not answer":      {func(p *peer, _ *link) { p.vacant = 0 }, time.Minute, false},
		"it may be reaped":        {func(p *peer, _ *link) { p.since = time.Now().Add(-time.Minute) }, time.Minute, false},
		"it was declared dead":    {func(p *peer, _ *link) { p.returning = true }, time.Minute, false},
		"it shuts down":           {func(p *peer, _ *link) { p.Away = true }, time.Minute, false},
		"it is another by now":    {func(p *peer, l *link) { l.incarnation, l.quiet, p.vacant = "before", 0, 0 }, time.Minute, false},
		"it is down no more":      {func(p *peer, _ *link) { p.down, p.vacant = false, 0 }, time.Minute, true},
		"it was never heard here": {func(p *peer, l *link) { *l, p.vacant = link{}, 0 }, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			push := netip.MustParseAddrPort("192.0.2.1:7947")
			p := peer{HostDoc: record.HostDoc{Host: overlay.Host{Name: "h2", Incarnation: "i", Push: push}}, down: true, since: time.Now().Add(-time.Second), vacant: vacantTicks}
			l := &link{incarnation: "i", heard: time.Now(), quiet: silentTicks}
			c.change(&p, l)
			r := &Registry{self: overlay.Host{Push: push}, reapAfter: c.reap, hosts: map[string]peer{"h2": p}, links: map[string]*link{"h2": l}}
			if got := r.sentToLocked("h2"); got != c.want {
				t.Errorf("sent to: %v", got)
			}
		})
	}
}
