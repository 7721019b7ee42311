package registry

import (
	"cmp"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
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
		p := r.hosts[host]
		if l.incarnation == p.Incarnation && !l.heard.IsZero() && l.quiet >= vacantAsk && p.Push.IsValid() &&
			!p.returning && !r.namelessLocked(host) {
			out = append(out, p.Host)
		}
	}
	slices.SortFunc(out, func(a, b overlay.Host) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Vacant says that the host's machine answers, and that no weft runs on it.
func (r *Registry) Vacant(host overlay.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, p := r.links[host.Name], r.hosts[host.Name]
	if l == nil || p.Host != host || l.incarnation != p.Incarnation || l.quiet < vacantAsk || r.namelessLocked(host.Name) {
		return
	}
	l.vacant = vacantTicks
}

// sentToLocked says whether packets go to the host and are taken from it: it is not
// down, or only its weft is or was, and its addresses are not to be freed yet.
func (r *Registry) sentToLocked(host string) bool {
	p, l := r.hosts[host], r.links[host]
	if !p.down {
		return true
	}
	vacant := l != nil && l.incarnation == p.Incarnation && l.vacant > 0
	return (vacant || r.heardLocked(host)) && !p.returning && !r.awayLocked(host) && (r.reapAfter == 0 || time.Since(p.since) < r.reapAfter)
}

// namelessLocked says whether the host's names are withdrawn: it is silent, and
// not just because its weft was killed.
func (r *Registry) namelessLocked(host string) bool {
	if !r.silentLocked(host) {
		return false
	}
	l := r.links[host]
	return l == nil || l.vacant == 0 || r.awayLocked(host) || r.hosts[host].rests
}
