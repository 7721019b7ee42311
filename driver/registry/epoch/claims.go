package epoch

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// Refusal says why this host may claim nothing new, as the end of a sentence; nil: it
// may. contact is how the store was doing when last asked, and placed says whether this
// process has its host's place.
func (s *State) Refusal(v View, contact error, placed bool, now time.Time) error {
	switch {
	case s.revision == 0 && contact != nil:
		return fmt.Errorf("since the store does not answer: %w", contact)
	case s.unread != nil:
		return fmt.Errorf("since the store's record %s %w", record.EpochKey, s.unread)
	case !placed:
		return errors.New("since this host has not taken its place among the hosts of the store yet: try again in a moment")
	case s.revision == 0 || s.lossEvidence != nil:
		return errors.New("since the store is new or has lost data and is told again what there is: try again in a moment")
	case !s.MayClaim && s.owes(v, now):
		return fmt.Errorf("since this host's state was lost or set aside, and not all its containers are known again: try again, at the latest after %s",
			s.since.Add(SettleTime).UTC().Format(time.RFC3339))
	case !s.MayClaim:
		missing := "this host"
		if others := s.absentees(v.Self, v.Hosts); s.claimsComparedIn == s.Epoch.ID && len(others) > 0 {
			missing = "host " + strings.Join(others, ", host ")
		}
		return fmt.Errorf("since the store has lost data (it was wiped, restored or moved) and %s has not recorded again what it has: try again, at the latest after %s",
			missing, s.since.Add(SettleTime).UTC().Format(time.RFC3339))
	}
	return nil
}

// absentees are the hosts, sorted, that have not recorded again in this epoch what they
// have: of the hosts that are known here and the hosts that the epoch names. A host that
// nobody knows by name goes by its address.
func (s *State) absentees(self overlay.Host, known iter.Seq[record.HostDoc]) []string {
	all, at := map[string]bool{}, map[netip.Addr]bool{self.VTEP: true}
	for _, name := range s.Epoch.Hosts {
		all[name] = true
	}
	for doc := range known {
		all[doc.Name] = doc.Epoch != s.Epoch.ID
		at[doc.VTEP] = true
	}
	maps.DeleteFunc(all, func(name string, absent bool) bool { return !absent || name == self.Name || s.downBefore[name] })
	for _, vtep := range s.Epoch.VTEPs {
		if !at[vtep] {
			all["at "+vtep.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// claimedElsewhere says whether another host claims new things in this epoch. A host
// that is new has nothing that was lost, and may do so then too. When the epoch
// began is no measure for that: it is by another host's clock.
func (s *State) claimedElsewhere(known iter.Seq[record.HostDoc]) bool {
	for doc := range known {
		if doc.Settled && doc.Epoch == s.Epoch.ID {
			return true
		}
	}
	return false
}

// Settle allows new claims once it is time to, and says that it did, and which hosts
// have not recorded again what they have.
func (s *State) Settle(v View, now time.Time) (allowed bool, missing []string) {
	if s.MayClaim || s.Epoch.ID == "" || s.claimsComparedIn != s.Epoch.ID || !v.HostsRead {
		return false, nil
	}
	missing = s.absentees(v.Self, v.Hosts)
	waits := len(missing) > 0 && now.Sub(s.since) < SettleTime
	if waits && (!s.firstEpoch || !s.claimedElsewhere(v.Hosts)) {
		return false, nil
	}
	s.MayClaim = true
	s.CompareClaims() // what is disputed is decided now
	return true, missing
}

// Compared is the epoch in which this host has recorded again what it has, and says
// whether this host claims new things in it.
func (s *State) Compared() (id string, claims bool) {
	return s.claimsComparedIn, s.MayClaim && s.claimsComparedIn == s.Epoch.ID
}

// CompareClaims asks for a comparison of this host's claims with the store, at once.
func (s *State) CompareClaims() { s.compareClaims, s.comparedAt = true, time.Time{} }

// CompareSoon asks for the same, but not right after another comparison.
func (s *State) CompareSoon() { s.compareClaims = true }

// Comparison is one of this host's claims with the store.
type Comparison struct {
	epoch string
	fresh bool // the first one in an epoch
	asked bool // somebody has asked for it
	owes  bool // this host does not know yet all that it has
}

// First says whether all hosts make this comparison at about the same time.
func (c Comparison) First() bool { return c.fresh }

// BeginComparison says whether this host's claims are to be compared with the store now.
func (s *State) BeginComparison(v View, now time.Time) (c Comparison, due bool) {
	c = Comparison{epoch: s.Epoch.ID, owes: s.owes(v, now)}
	c.fresh = s.claimsComparedIn != s.Epoch.ID && s.revision != 0 && !c.owes
	if c.asked = s.compareClaims && now.Sub(s.comparedAt) >= compareGap; c.asked {
		s.compareClaims, s.comparedAt = false, now
	}
	return c, c.fresh || c.asked
}

// EndComparison says whether the comparison was made.
func (s *State) EndComparison(c Comparison, made bool) {
	switch {
	case made && !c.owes:
		s.claimsComparedIn = c.epoch
	case !made && c.asked:
		s.CompareClaims()
	}
}

// Due says whether there is something to do by the clock.
func (s *State) Due(v View, now time.Time) bool {
	return s.compareClaims || s.owes(v, now) || s.claimsComparedIn != s.Epoch.ID
}

// owes says whether this host has containers that it does not know yet, and others wait
// to hear of them.
func (s *State) owes(v View, now time.Time) bool {
	return len(v.Remains) > 0 && now.Sub(s.since) < SettleTime
}

// unawaited are the VTEPs that the kernel knows, and that the epoch neither names nor
// knows by a host that is waited for or has recorded again what it has.
func (s *State) unawaited(v View) []netip.Addr {
	if s.revision == 0 || s.unread != nil || !v.HostsRead || len(v.Remains) == 0 {
		return nil
	}
	known := map[netip.Addr]bool{v.Self.VTEP: true}
	for _, vtep := range s.Epoch.VTEPs {
		known[vtep] = true
	}
	for doc := range v.Hosts {
		if doc.Epoch == s.Epoch.ID || !s.MayClaim {
			known[doc.VTEP] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(v.Remains), func(vtep netip.Addr) bool { return known[vtep] })
}

// Partial says whether the kernel may have something that no record tells of since the
// store has lost data: another host may not have recorded again what it has.
func (s *State) Partial() bool {
	return s.lossEvidence != nil || !s.MayClaim && (s.Epoch.N > 1 || len(s.Epoch.VTEPs) > 0)
}

// MayRemake says whether nobody can know a network better that nobody has a record of.
// here says that it is in this host's kernel.
func (s *State) MayRemake(v View, here bool, now time.Time) bool {
	// Without a host that knows others by its kernel, one may be still to come.
	early := !s.MayClaim || len(s.Epoch.VTEPs) == 0 && now.Sub(s.since) < SettleTime
	return s.revision != 0 && s.unread == nil && s.lossEvidence == nil && v.HostsRead && len(s.unawaited(v)) == 0 && (here || !early)
}
