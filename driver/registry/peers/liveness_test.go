package peers

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// Who is down, and who is to be reaped: by how long the lease was seen free, by what
// the host has said, and by who hears it.
func TestJudge(t *testing.T) {
	const reap = time.Minute
	began := time.Unix(100_000, 0)
	push := netip.MustParseAddrPort("192.0.2.1:7947")
	for name, c := range map[string]struct {
		change           func(*Peers, *Peer, *link)
		after            time.Duration // since the lease is free
		down, rest, dead bool
	}{
		"it has its lease":                        {func(_ *Peers, h *Peer, _ *link) { h.Live = true }, time.Hour, false, false, false},
		"its lease was lost a moment ago":         {nil, DownAfter - 1, false, false, false},
		"its lease is free":                       {nil, DownAfter, true, false, false},
		"its lease is free for long":              {nil, reap, true, false, true},
		"it is heard":                             {func(_ *Peers, _ *Peer, l *link) { l.heard = began }, time.Hour, false, false, false},
		"it is silent, and its lease just free":   {func(_ *Peers, _ *Peer, l *link) { l.heard, l.quiet = began, silentTicks }, SilentDownAfter, true, false, false},
		"it went away, and its lease is free":     {func(_ *Peers, h *Peer, _ *link) { h.Away = true }, 0, true, false, false},
		"its containers run on":                   {func(_ *Peers, h *Peer, _ *link) { h.Rests = true }, time.Hour, false, true, false},
		"its machine shuts down with them":        {func(_ *Peers, h *Peer, _ *link) { h.Rests, h.Away = true, true }, time.Hour, true, false, true},
		"it was declared dead":                    {func(_ *Peers, h *Peer, _ *link) { h.returning = true }, 0, true, false, false},
		"somebody else hears it":                  {func(_ *Peers, h *Peer, _ *link) { h.Veto.Held = true }, time.Hour, true, false, false},
		"somebody else heard it until now":        {func(_ *Peers, h *Peer, _ *link) { h.unheard = began.Add(time.Hour - reap/2) }, time.Hour, true, false, false},
		"this host did not see the leases":        {func(p *Peers, _ *Peer, _ *link) { p.blindSince = began.Add(time.Hour - DownAfter + 1) }, time.Hour, false, false, false},
		"it was down before this host lost sight": {func(p *Peers, h *Peer, _ *link) { p.blindSince, h.Down = began.Add(time.Hour), true }, time.Hour, true, false, false},
		"hosts are never reaped":                  {func(p *Peers, _ *Peer, _ *link) { p.reapAfter = 0 }, time.Hour, true, false, false},
		"this process has not seen it yet":        {func(_ *Peers, h *Peer, _ *link) { h.Since = time.Time{} }, time.Hour, false, false, false},
		"another incarnation is heard":            {func(_ *Peers, h *Peer, l *link) { l.incarnation, l.heard = "before", began }, DownAfter, true, false, false},
	} {
		p := New(overlay.Host{Name: "h1", Push: push}, reap)
		host := Peer{HostDoc: record.HostDoc{Host: overlay.Host{Name: "h2", Incarnation: "i", Push: push}}, Since: began, unheard: began}
		l := &link{incarnation: "i"} // nothing was heard of it
		p.links["h2"] = l
		if c.change != nil {
			c.change(p, &host, l)
		}
		p.hosts["h2"] = host
		dead, _, _ := p.Judge(began.Add(c.after), true)
		if is := p.hosts["h2"]; is.Down != c.down || is.Resting != c.rest {
			t.Errorf("%s: down %v, resting %v", name, is.Down, is.Resting)
		}
		if slices.Contains(dead, "h2") != c.dead {
			t.Errorf("%s: to be reaped: %v", name, dead)
		}
	}
}

// A host that cannot see the leases judges nobody, and counts anew when it sees them.
func TestWhoCannotSeeTheLeasesJudgesNobody(t *testing.T) {
	began := time.Unix(100_000, 0)
	p := New(overlay.Host{Name: "h1"}, time.Minute)
	p.hosts["h2"] = Peer{HostDoc: record.HostDoc{Host: overlay.Host{Name: "h2"}}, Since: began, unheard: began}
	for _, c := range []struct {
		at         time.Duration
		sees       bool
		down, reap bool
	}{
		{time.Hour, false, false, false},
		{time.Hour + DownAfter - 1, true, false, false},
		{time.Hour + DownAfter, true, true, false},
		{time.Hour + time.Minute - 1, true, true, false},
		{time.Hour + time.Minute, true, true, true},
	} {
		dead, _, _ := p.Judge(began.Add(c.at), c.sees)
		if p.hosts["h2"].Down != c.down || len(dead) > 0 != c.reap {
			t.Errorf("after %v: down %v, to be reaped %v", c.at, p.hosts["h2"].Down, dead)
		}
	}
}

func TestFirst(t *testing.T) {
	for name, c := range map[string]struct {
		live, dead []string
		want       bool
	}{
		"alone":                       {nil, nil, true},
		"before another":              {[]string{"h3"}, nil, true},
		"behind another":              {[]string{"h1", "h3"}, nil, false},
		"behind one without a lease":  {[]string{"h3"}, []string{"h1"}, true},
		"behind one with and without": {[]string{"h0"}, []string{"h1"}, false},
	} {
		p := New(overlay.Host{Name: "h2"}, 0)
		for _, host := range c.live {
			p.hosts[host] = Peer{Live: true}
		}
		for _, host := range c.dead {
			p.hosts[host] = Peer{}
		}
		if got := p.First(); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
