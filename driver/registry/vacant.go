package registry

import (
	"cmp"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// # A weft that was killed, and a machine that is dead
//
// Both fall silent. But a machine that lives refuses a connection to its push
// port when no weft listens there, and a dead one answers nothing. The
// containers of the first run on, so its names stay, and when its lease ends and it
// is down it is still sent to. It is reaped as any host that is down: from then on
// its addresses may be others', and nobody sends to it. A weft that hangs listens
// and refuses nothing: its names go. And a machine that answers again after it did
// not has started anew, without its containers: nothing comes back before its weft
// is heard.
//
// A weft whose state is lost or was set back begins with another incarnation, of which
// nothing is heard before its record is seen, and that comes before its lease. Whether
// the machine lives has nothing to do with that: a host at the same addresses that was
// sent to when the record came is sent to as if its machine had refused then. So that is
// for as long as a refusal counts, and not beyond the reap time of the lease that ended.
// A host that was not sent to gains nothing by a new record.

const (
	// vacantAsk is the silence, in ticks, after which a host's machine is asked:
	// 2.5 s, two beats. The answer is here before the names are withdrawn.
	vacantAsk = 10
	// vacantTicks is how long a refusal counts, 2 s: four questions. A machine
	// that dies after its weft loses its names within that.
	vacantTicks = 8
)

// Quiet are the hosts whose machines are to be asked whether weft runs there,
// sorted by name.
func (r *Registry) Quiet() []overlay.Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []overlay.Host
	for host, l := range r.links {
		if p := r.hosts[host]; quiet(p, l) && p.Push.IsValid() && !p.returning && !r.namelessLocked(host) {
			out = append(out, p.Host)
		}
	}
	slices.SortFunc(out, func(a, b overlay.Host) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// quiet says whether the host was heard and is not any more, or its machine counted as
// one that lives and it has not been heard since.
func quiet(p peer, l *link) bool {
	return p.vacant > 0 || l.incarnation == p.Incarnation && !l.heard.IsZero() && l.quiet >= vacantAsk
}

// Vacant says that the host's machine answers, and that no weft runs on it.
func (r *Registry) Vacant(host overlay.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, p := r.links[host.Name], r.hosts[host.Name]
	if l == nil || p.Host != host || !quiet(p, l) || r.namelessLocked(host.Name) {
		return
	}
	p.vacant = vacantTicks
	r.hosts[host.Name] = p
}

// vacantLocked is what counts of the host's machine when the store has this record of
// the host.
func (r *Registry) vacantLocked(doc record.HostDoc) int {
	old := r.hosts[doc.Name]
	switch {
	case old.VTEP != doc.VTEP || old.Push != doc.Push:
		return 0
	case old.Incarnation != doc.Incarnation && r.sentToLocked(doc.Name):
		return vacantTicks
	}
	return old.vacant
}

// countVacantLocked counts a tick of what counts of the host's machine.
func (r *Registry) countVacantLocked(host string) {
	p, sent := r.hosts[host], r.sentToLocked(host)
	p.vacant = max(0, p.vacant-1)
	r.hosts[host] = p
	if sent && !r.sentToLocked(host) {
		r.any.send()
	}
}

// sentToLocked says whether packets go to the host and are taken from it: it is not
// down, or only its weft is or was, and its addresses are not to be freed yet.
func (r *Registry) sentToLocked(host string) bool {
	p := r.hosts[host]
	if !p.down {
		return true
	}
	return (p.vacant > 0 || r.heardLocked(host)) && !p.returning && !r.awayLocked(host) && (r.reapAfter == 0 || time.Since(p.since) < r.reapAfter)
}

// namelessLocked says whether the host's names are withdrawn: it is silent, and
// not just because its weft was killed.
func (r *Registry) namelessLocked(host string) bool {
	if !r.silentLocked(host) {
		return false
	}
	p := r.hosts[host]
	return p.vacant == 0 || r.awayLocked(host) || p.rests
}
