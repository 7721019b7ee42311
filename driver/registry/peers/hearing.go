package peers

import (
	"cmp"
	"maps"
	"math"
	"time"

	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// # Which numbers count that come from other hosts directly
//
// All hosts have the cluster's key, so a number from the wire is not more than a claim.
// It counts if it is in reach of what the host's record in the store says; a number
// further away has to come by the store. So an absurd number does not keep the true
// ones out.
//
// Messages are numbered within a process. Processes are numbered by how many of them
// the host's state has seen; the host's record tells that number, its runs. The last
// number of each process is known by itself: a process that the store has not told of
// may be heard, and has no say about the process that the store has told of. What an
// earlier process said is old. A host whose state was set back finds its own record,
// and counts on from there.

// Bounds of the numbers of processes.
const (
	mostRuns  = 256     // processes that the store has not told of
	firstRuns = 1 << 20 // processes of a host, if the store does not tell, and it was not heard yet
)

// Bounds of the numbers of messages. A host says one a second and some with each
// change.
const (
	firstMessages = 1 << 31 // of a process that was not heard yet
	mostMessages  = 1 << 12 // that are lost in no time
	messageRate   = 100     // more for each second without any
)

// mostAhead is how many changes a host may make without the store having heard.
const mostAhead = 1 << 16

// mostProbes is how many requests to probe paths a process makes.
const mostProbes = 1 << 16

// Beat is one sign of life of another host.
type Beat struct {
	Host        string
	Incarnation string
	Number      uint64 // of the message; grows within an incarnation
	Seq         uint64 // the highest of the host's attachments
	StoreOK     bool   // the store answers the host
	StoreFor    time.Duration
	Probe       uint64 // as in overlay.Host
	Rests       bool   // the host's weft ends in order: silence says nothing now
	Away        bool   // the host's machine shuts down
	Key         string // id of the key by which it was sealed, see driver/keys
}

// link is what is known of a host from its own mouth. It starts empty with each
// process and each incarnation.
type link struct {
	incarnation string
	synced      uint64            // every document up to here has come, or a newer one
	announced   uint64            // the highest number that was heard of
	gone        map[string]uint64 // withdrawals above synced, by network id
	spoken      map[uint64]spoken // by the number of the process
	heard       time.Time         // zero: not yet, or the host said that it rests
	quiet       int               // silence's ticks since heard
	storeOK     bool
	storeSince  time.Time
	away        bool   // the host said that its machine shuts down
	lease       uint64 // the revision of its lease then
	key         string // id of the newest key by which it has sealed something
}

// spoken is the last that was heard from a process of a host.
type spoken struct {
	number uint64
	at     time.Time
}

// since is the time since then in seconds. Of the clock that goes on while the machine
// sleeps and the clock that nobody sets, the one counts that says more: the host may have
// spoken all that time.
func (s spoken) since(now time.Time) uint64 {
	return uint64(max(0, now.Sub(s.at), now.Round(0).Sub(s.at.Round(0))) / time.Second)
}

// fresh says whether a message's number counts at the time now. runs is what the
// host's record says; 0: nothing, it is of a weft that does not tell.
func (l *link) fresh(number, runs uint64, now time.Time) bool {
	var highest uint64
	for run := range l.spoken {
		highest = max(highest, run)
	}
	run, known, most := number>>32, cmp.Or(runs, highest), uint64(mostRuns)
	if known == 0 {
		most = firstRuns
	}
	if run != runs && (run < max(runs, highest) || run-known > most) {
		return false
	}
	last, heard := l.spoken[run]
	if !heard {
		return number&math.MaxUint32 <= firstMessages
	}
	return number > last.number && number-last.number <= mostMessages+messageRate*last.since(now)
}

// note notes the number of a message that counts, and forgets processes before the
// one that the host's record tells of.
func (l *link) note(number, runs uint64, now time.Time) {
	maps.DeleteFunc(l.spoken, func(run uint64, _ spoken) bool { return run < runs })
	l.spoken[number>>32] = spoken{number, now}
}

// credible says whether the host can have a document of that number, by what its
// record says.
func credible(doc record.HostDoc, seq uint64) bool { return seq <= doc.Seq || seq-doc.Seq <= mostAhead }

// mayAsk says whether a message with that number can bring that request to probe paths.
func mayAsk(number, probe uint64) bool {
	return probe>>32 <= number>>32 && probe&math.MaxUint32 <= mostProbes
}

// linkTo gives the link to the host, or nil if the store does not know the host in this
// incarnation.
func (p *Peers) linkTo(host, incarnation string) *link {
	if known, ok := p.hosts[host]; !ok || known.Incarnation != incarnation {
		return nil
	}
	l := p.links[host]
	if l == nil || l.incarnation != incarnation {
		l = &link{incarnation: incarnation, gone: map[string]uint64{}, spoken: map[uint64]spoken{}}
		p.links[host] = l
	}
	return l
}

// linkOf gives the link to the host in the incarnation that the store knows, if the host
// was heard in that.
func (p *Peers) linkOf(host string) *link {
	if l := p.links[host]; l != nil && l.incarnation == p.hosts[host].Incarnation {
		return l
	}
	return nil
}

// Heard is what has followed from a sign of life.
type Heard struct {
	Counts  bool // it was news, of a host that is known
	Changed bool // of what others go by
	Again   bool // the host was silent
	Asks    bool // the host asks to probe paths
}

// Hear takes a sign of life. What is no news, or of an unknown host, changes nothing.
func (p *Peers) Hear(b Beat, ring keys.Ring, now time.Time) (out Heard) {
	l := p.linkTo(b.Host, b.Incarnation)
	host := p.hosts[b.Host]
	if l == nil || !l.fresh(b.Number, host.Runs, now) {
		return out
	}
	out.Counts, out.Again = true, p.Silent(b.Host)
	out.Changed = out.Again
	host.Resting = host.Resting && b.Rests
	if mayAsk(b.Number, b.Probe) {
		changed, asks := p.asked(&host, b.Probe, len(l.spoken) == 0)
		out.Changed, out.Asks = out.Changed || changed, asks
	}
	host.vacant, host.answers = 0, 0
	p.hosts[b.Host] = host
	l.note(b.Number, host.Runs, now)
	l.heard, l.quiet = now, 0
	l.heardBy(ring, b.Key)
	if credible(host.HostDoc, b.Seq) {
		l.announced = max(l.announced, b.Seq)
	}
	l.storeOK, l.storeSince = b.StoreOK, now.Add(-b.StoreFor)
	if b.Rests {
		l.heard = time.Time{}
	}
	if l.away != b.Away {
		l.away, l.lease = b.Away, host.Lease
		out.Changed = true
	}
	return out
}

// Said is what the host has said of itself last: when, and since when the store answers
// it or does not. Zero: nothing.
func (p *Peers) Said(host string) (at time.Time, storeOK bool, storeSince time.Time) {
	if l := p.linkOf(host); l != nil {
		return l.heard, l.storeOK, l.storeSince
	}
	return time.Time{}, false, time.Time{}
}

// heardBy notes the key by which the host has sealed something.
func (l *link) heardBy(ring keys.Ring, id string) {
	if id == l.key || id == "" {
		return
	}
	if l.key = ring.Heard(overlay.Keys{Newest: l.key}, id).Newest; l.key == "" {
		l.key = id
	}
}
