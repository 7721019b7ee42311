package peers

import (
	"cmp"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// # A weft that was killed, and a machine that is dead
//
// Both fall silent. But a machine that lives refuses a connection to its push port when
// no weft listens there, and a dead machine answers nothing. Where only weft was killed
// the containers run on, so the host's names stay, and packets still go there when its
// lease has ended and it is down. It is reaped as any host that is down: from then on its
// addresses may be others', and nobody sends to it. Where weft hangs, the machine takes
// the connection, and nobody speaks: its names go, and packets go on. And a machine that
// answers again after it did not may have started anew, without its containers: its names
// do not come back before its weft is heard. Packets to it harm nobody, so as long as they
// go there such an answer keeps them going: the way may have been cut when its weft was
// killed.
//
// A weft whose state is lost or was set back begins with another incarnation. Nothing is
// heard of that before its record is seen, and the record comes before its lease. Whether
// the machine lives has nothing to do with either. So a host at the same addresses that
// was sent to when the record came is sent to as if its machine had refused then: for as
// long as a refusal counts, and not beyond the reap time of the lease that ended. A host
// that was not sent to gains nothing by a new record.
//
// A process that has just started has heard nobody. A host without a lease counts as down
// for it after DownAfter, so its machine is asked before.

const (
	// vacantAsk is the silence, in ticks, after which a host's machine is asked:
	// 2.5 s, two beats. The answer is here before the names are withdrawn.
	vacantAsk = 10
	// vacantTicks is how long an answer counts, 2 s: four questions. A machine
	// that dies after its weft loses its names within that.
	vacantTicks = 8
)

// Quiet are the hosts whose machines are to be asked whether weft runs there,
// sorted by name.
func (p *Peers) Quiet() []overlay.Host {
	var out []overlay.Host
	for name, host := range p.hosts {
		if quiet(host, p.linkOf(name)) && host.Push.IsValid() && p.mayAnswer(name) {
			out = append(out, host.Host)
		}
	}
	slices.SortFunc(out, func(a, b overlay.Host) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// mayAnswer says whether it matters that the host's machine answers: not if it goes on
// purpose, or nothing is sent to it.
func (p *Peers) mayAnswer(name string) bool {
	host := p.hosts[name]
	return !host.returning && !p.away(name) && (!host.Down || host.answers > 0 || p.Hears(name))
}

// quiet says whether the host was heard and is not any more, or its machine counted as
// one that lives and it has not been heard since, or it was never heard and has no lease.
func quiet(host Peer, l *link) bool {
	if l == nil || l.heard.IsZero() {
		return host.answers > 0 || !host.Live
	}
	return host.answers > 0 || l.quiet >= vacantAsk
}

// MachineAnswers says that the host's machine lives, and whether it refuses the connection since
// no weft runs on it.
func (p *Peers) MachineAnswers(asked overlay.Host, refuses bool) {
	host, known := p.hosts[asked.Name]
	if !known || host.Host != asked || !quiet(host, p.linkOf(asked.Name)) || !p.mayAnswer(asked.Name) {
		return
	}
	host.answers = vacantTicks
	if refuses && !p.nameless(asked.Name) {
		host.vacant = vacantTicks
	}
	p.hosts[asked.Name] = host
}

// vacantOf is what counts of the host's machine when the store has this record of the
// host.
func (p *Peers) vacantOf(doc record.HostDoc, now time.Time) (vacant, answers int) {
	old := p.hosts[doc.Name]
	switch {
	case old.VTEP != doc.VTEP || old.Push != doc.Push:
		return 0, 0
	case old.Incarnation != doc.Incarnation && p.SentTo(doc.Name, now):
		return vacantTicks, vacantTicks
	}
	return old.vacant, old.answers
}

// countVacant counts a tick of what counts of the host's machine, and says whether
// nothing is sent to the host from then on.
func (p *Peers) countVacant(name string, now time.Time) bool {
	host, sent := p.hosts[name], p.SentTo(name, now)
	host.vacant, host.answers = max(0, host.vacant-1), max(0, host.answers-1)
	p.hosts[name] = host
	return sent && !p.SentTo(name, now)
}

// SentTo says whether packets go to the host and are taken from it: it is not down, or
// only its weft is or was, and its addresses are not to be freed yet.
func (p *Peers) SentTo(name string, now time.Time) bool {
	host := p.hosts[name]
	if !host.Down {
		return true
	}
	return (host.answers > 0 || p.Hears(name)) && !host.returning && !p.away(name) && (p.reapAfter == 0 || now.Sub(host.Since) < p.reapAfter)
}

// nameless says whether the host's names are withdrawn: it is silent, and not just
// because its weft was killed.
func (p *Peers) nameless(name string) bool {
	if !p.Silent(name) {
		return false
	}
	host := p.hosts[name]
	return host.vacant == 0 || p.away(name) || host.Resting
}
