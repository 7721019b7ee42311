package peers

import "time"

// DownAfter is how long a host's lease must have been free before its peers
// stop forwarding to it. Consul frees a lease 2 x TTL after the last renewal; a
// host whose lease was lost with a leader or an outage has it back by then.
const DownAfter = 8 * time.Second

// SilentDownAfter is the same for a host that has fallen silent as well: longer
// than a new process takes from ending the lease of its predecessor to its own.
const SilentDownAfter = 250 * time.Millisecond

// Judge says which hosts are down now, and gives the hosts that are to be reaped.
// changed says whether something that others go by has changed. sees is false while
// this host cannot see the leases: then it judges nobody, and begins to count anew.
func (p *Peers) Judge(now time.Time, sees bool) (dead []string, news []News, changed bool) {
	if !sees {
		p.blindSince = now
		return nil, nil, false
	}
	for name := range p.hosts {
		is := p.judge(name, now)
		host := &is.host
		if is.rests != host.Resting {
			host.Resting, changed = is.rests, true
			if is.rests {
				news = append(news, News{name, "A host's weft has ended: its names are withdrawn, and its containers, which run on, are still sent to."})
			}
		}
		turned := is.down != host.Down
		host.Down = is.down
		p.hosts[name] = *host
		if turned {
			changed = true
			text := "A host is back."
			switch {
			case is.down && p.SentTo(name, now):
				text = "A host is down, but its machine answers: its containers are still sent to until its addresses are freed."
			case is.down:
				text = "A host is down: nothing is sent to it, and nothing taken from it, until it is back."
			}
			news = append(news, News{name, text})
		}
		if is.dead {
			dead = append(dead, name)
		}
	}
	return dead, news, changed
}

// judgement is what is found of a host.
type judgement struct {
	host  Peer
	down  bool // peers are to stop sending to it
	rests bool // they would be, if its containers did not run on
	dead  bool // it is to be reaped
}

// judge finds what is to be thought of a host. It changes nothing.
func (p *Peers) judge(name string, now time.Time) judgement {
	host := p.hosts[name]
	if host.Since.IsZero() { // known from state, not seen yet by this process
		host.Since = now
	}
	heard := p.Hears(name)
	if heard {
		host.unheard = now
	}
	grace := DownAfter
	switch {
	case p.away(name):
		grace = 0
	case host.Rests:
	case p.Silent(name):
		grace = SilentDownAfter
	}
	free := min(now.Sub(host.Since), now.Sub(p.blindSince)) // as long as was seen without a break
	// A host that is heard has lost the store, not its life. A host that was down is so
	// after an outage of the store too, until the store says otherwise.
	gone := host.returning || !host.Live && !heard && (free >= grace || host.Down || host.Resting)
	out := judgement{host: host, down: gone && (!host.Rests || host.Away), rests: gone && host.Rests && !host.Away}
	out.dead = out.down && p.reapAfter > 0 && !host.Veto.Held && min(free, now.Sub(host.unheard)) >= p.reapAfter
	return out
}

// HeardWithoutLease are the hosts that this one hears and that might be reaped. Of each
// it says whether another host holds the veto.
func (p *Peers) HeardWithoutLease() map[string]bool {
	out := map[string]bool{}
	for name, host := range p.hosts {
		if !host.Live && !host.returning && p.Hears(name) {
			out[name] = host.Veto.Held && host.Veto.By != p.self
		}
	}
	return out
}

// First says whether no other host with a lease comes before this one by name. Several
// hosts may think so at once, or none for a while.
func (p *Peers) First() bool {
	for name, host := range p.hosts {
		if host.Live && name < p.self {
			return false
		}
	}
	return true
}
