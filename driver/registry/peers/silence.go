package peers

import (
	"maps"
	"time"
)

// A host that was heard is silent after silentTicks x SilenceTick, 4 s, without
// a word: as long as four heartbeats in a row. Time is counted in ticks of this
// process, so a process that was suspended does not take the others for silent.
const (
	// SilenceTick is the time between two calls of CountSilence.
	SilenceTick = 250 * time.Millisecond
	silentTicks = 16
)

// CountSilence counts a tick, and says whether something that others go by has changed
// with it.
func (p *Peers) CountSilence(now time.Time) (news []News, changed bool) {
	changed = p.countProbes()
	for host := range p.hosts {
		was := p.nameless(host)
		changed = p.countVacant(host, now) || changed
		l := p.links[host]
		if l == nil || l.heard.IsZero() {
			continue
		}
		l.quiet++
		switch is := p.nameless(host); {
		case is && !was:
			news = append(news, News{host, "A host has fallen silent: its names are withdrawn until it is heard again, its packets go on."})
			changed = true
		case !is && l.quiet == silentTicks && p.Silent(host):
			news = append(news, News{host, "A host's weft does not run and its machine answers: its names stay, its packets go on."})
		}
	}
	return news, changed
}

// Silent says whether the host was heard and is not any more, or has said that its
// machine shuts down or its weft ends.
func (p *Peers) Silent(host string) bool {
	if p.away(host) || p.hosts[host].Resting {
		return true
	}
	l := p.linkOf(host)
	return l != nil && !l.heard.IsZero() && l.quiet >= silentTicks && p.hosts[host].Push.IsValid() && p.listens
}

// Hears says whether the host was heard lately.
func (p *Peers) Hears(host string) bool {
	l := p.linkOf(host)
	return l != nil && !l.heard.IsZero() && !p.Silent(host)
}

// away says whether the host has said that it goes down, and has not had another lease
// since.
func (p *Peers) away(name string) bool {
	host := p.hosts[name]
	if host.Away && !host.Live {
		return true
	}
	l := p.linkOf(name)
	return l != nil && l.away && (!host.Live || l.lease == host.Lease)
}

// Silences are the hosts whose names are withdrawn; nil if there is none.
func (p *Peers) Silences() map[string]bool {
	out := map[string]bool{}
	for host := range p.hosts {
		out[host] = p.nameless(host)
	}
	maps.DeleteFunc(out, func(_ string, nameless bool) bool { return !nameless })
	if len(out) == 0 {
		return nil
	}
	return out
}
