package registry

import (
	"cmp"
	"maps"
	"math"
	"time"

	"github.com/weft-net/weft/driver/registry/record"
)

// # Which numbers count that come from other hosts directly
//
// The cluster's key is all hosts', so a number from the wire is not more than a
// claim. It counts if it is in reach of what the host's record in the store says;
// what is further away has to come by the store. An absurd number is so no wall
// before the true ones.
//
// Messages are numbered within a process, and processes by how many the host's
// state has seen, its runs, which its record tells. Of each process the last number
// is known by itself: one that the store has not told of may be heard, and has no
// say about the one that it has told of. What a process before that said is old.
// A host whose state was set back finds its own record, and counts on from there.

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

// spoken is the last that was heard from a process of a host.
type spoken struct {
	number uint64
	at     time.Time
}

// since is the time since then in seconds, by the clock that goes on while the machine
// sleeps or by the one that nobody sets: the host may have spoken all that time.
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
func credible(p record.HostDoc, seq uint64) bool { return seq <= p.Seq || seq-p.Seq <= mostAhead }

// mayAsk says whether a message with that number can bring that request to probe paths.
func mayAsk(number, probe uint64) bool {
	return probe>>32 <= number>>32 && probe&math.MaxUint32 <= mostProbes
}
