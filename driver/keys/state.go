package keys

import (
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

const (
	// Bound is for how long after a newer key a host that has not taken it over, and
	// is heard all the same, is still told by the former one. It is one that the store
	// does not reach: nobody may declare it dead because of a key.
	Bound = 24 * time.Hour

	// SilentBound is the same for a weft that does not say which keys it has, and came
	// while the key was changed: it reads them every five minutes.
	SilentBound = 10 * time.Minute

	// Linger is for how long a key that is gone is still taken: another host may learn
	// that only after having sealed something by it.
	Linger = time.Minute
)

// Member is another host with a part in direct messages.
type Member struct {
	Name  string
	Keys  overlay.Keys
	Alive bool // it has its lease, is heard by some host, or was a moment ago
}

// State is all that a decision goes by.
type State struct {
	Ring    Ring
	Members []Member
	Gone    map[string]overlay.Keys  // the newest keys that hosts which have left can know
	Age     map[string]time.Duration // by id of a key: for how long a newer one has been known here
}

// Unable are the hosts, in order, whose weft knows no change of keys.
func (s State) Unable() []string {
	return s.those(func(m Member) bool { return m.Keys.Newest == "" })
}

// Waits are the hosts, in order, that are alive and have not taken the newest key over.
func (s State) Waits() []string {
	newest := s.Ring.Held().Newest
	return s.those(func(m Member) bool { return m.Alive && m.Keys.Newest != newest })
}

func (s State) those(which func(Member) bool) []string {
	var out []string
	for _, m := range s.Members {
		if which(m) {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return out
}

// Known are the hosts, in order, that have left and know the newest key: another one
// is due.
func (s State) Known() []string {
	newest := s.Ring.Held().Newest
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.Gone)) {
		if newest != "" && s.Gone[name].Newest == newest {
			out = append(out, name)
		}
	}
	return out
}

// Pruned is the ring without the oldest keys that nobody needs: each host that is alive
// needs the newest that it certainly has until its bound has passed, and what is newer, for
// it may have taken that over without this host knowing.
func (s State) Pruned() Ring {
	last := 0
	for _, m := range s.Members {
		i, bound := s.Ring.newestOf(m.Keys), Bound
		if m.Keys.Newest == "" {
			bound = SilentBound
		}
		for i > last && s.Age[ID(s.Ring.Keys[i])] >= bound {
			i--
		}
		if m.Alive {
			last = max(last, i)
		}
	}
	n := min(last+1, len(s.Ring.Keys))
	return Ring{Generation: s.Ring.Generation, Keys: s.Ring.Keys[:n:n]}
}

// Rotated is the ring with another key before all others.
func (s State) Rotated(fresh string) Ring {
	return Ring{Generation: s.Ring.Generation + 1, Keys: append([]string{fresh}, s.Pruned().Keys...)}
}

// Usable is the ring without the keys whose bound has passed, by which nothing is
// sealed any more, whatever the store says.
func (s State) Usable() (ring Ring, past []string) {
	ring.Generation = s.Ring.Generation
	for i, key := range s.Ring.Keys {
		if i == 0 || s.Age[ID(key)] < Bound {
			ring.Keys = append(ring.Keys, key)
		} else {
			past = append(past, key)
		}
	}
	return ring, past
}

// Next is the ring that the store should have instead of this one, and fresh makes the
// key that it may take; false: it stays as it is.
func (s State) Next(fresh func() string) (Ring, bool) {
	if len(s.Ring.Keys) == 0 {
		return s.Ring, false
	}
	if len(s.Known()) > 0 && len(s.Unable()) == 0 {
		return s.Rotated(fresh()), true
	}
	next := s.Pruned()
	return next, len(next.Keys) != len(s.Ring.Keys)
}
