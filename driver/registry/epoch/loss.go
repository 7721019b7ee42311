package epoch

import (
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// NoteLoss notes that the store seems to have lost something of what was seen. It is
// for the registry to look whether that is so.
func (s *State) NoteLoss() { s.noteLoss(s.seen) }

func (s *State) noteLoss(seen map[string]uint64) {
	if s.lossEvidence == nil {
		s.lossEvidence = maps.Clone(seen)
	}
	s.signs++
}

// NoteOlder notes that a record has a lower revision than this host knows that it had.
func (s *State) NoteOlder(key string, revision uint64) {
	s.NoteLoss()
	s.lossEvidence[key] = max(s.lossEvidence[key], revision)
}

// Intact says whether it is settled that the store has lost nothing.
func (s *State) Intact() bool { return s.lossEvidence == nil }

// Confirm takes the hosts' records that were just read, and says whether what was claimed
// just before is worth something: the epoch is the one of this id, and nothing of before
// is lost. What the watch has shown while they were read may be newer, and is no loss.
// due says whether it is to be looked what is lost.
func (s *State) Confirm(id string, before map[string]uint64, hosts []kvstore.Pair) (intact, due bool) {
	if s.Epoch.ID == id && len(wentBack(before, record.Revisions(hosts), record.HostPrefix)) > 0 {
		s.noteLoss(before)
		due = true
	}
	return s.Epoch.ID == id && s.lossEvidence == nil && s.revision != 0 && s.unread == nil && s.MayClaim, due
}

// Suspicion is what speaks for a loss at one moment.
type Suspicion struct {
	Known record.Epoch // that this host went by
	signs uint64
}

// Suspicion gives what speaks for a loss now, before the store is read for it; holds is
// false if nothing does.
func (s *State) Suspicion(v View) (suspicion Suspicion, holds bool) {
	return Suspicion{Known: s.Epoch, signs: s.signs}, s.lossEvidence != nil || len(s.unawaited(v)) > 0
}

// Conclude says from what was read of the store whether a next epoch is to begin, and
// because of which records. If not, the suspicion is over; again says that there was
// another sign while the store was read.
func (s *State) Conclude(was Suspicion, stored record.Epoch, pairs []kvstore.Pair, v View) (begin bool, lost []string, again bool) {
	lost = wentBack(s.lossEvidence, record.Revisions(pairs), "")
	same, standing := s.Epoch.ID == was.Known.ID, Compare(was.Known, stored)
	switch {
	case same && standing == Newer: // somebody has noticed before; it is entered in a moment
		return false, nil, false
	case same && (standing == Lost || len(lost) > 0 || len(s.unawaited(v)) > 0):
		return true, lost, false
	case s.signs != was.signs:
		return false, nil, true
	}
	s.lossEvidence = nil // a new epoch has begun, or there was nothing
	return false, nil, false
}

// Next is the epoch that is to begin after the one known here and the one of the store.
func Next(known, stored record.Epoch, id string, hosts []string, v View, now time.Time) record.Epoch {
	return record.Epoch{
		N: max(known.N, stored.N) + 1, ID: id, Hosts: hosts, By: v.Self.Name,
		At: now.UTC().Truncate(time.Millisecond), VTEPs: slices.Clone(v.Remains),
	}
}

// Enter goes by a new epoch from now on. down are the hosts that are down already.
func (s *State) Enter(began record.Epoch, down map[string]bool, now time.Time) {
	s.firstEpoch = s.Epoch.ID == ""
	s.Epoch, s.MayClaim, s.since, s.lossEvidence = began, false, now, nil
	s.seen, s.downBefore = map[string]uint64{}, down
}
