package epoch

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// SettleTime is how long a new epoch's claims wait for hosts that do not record
// again what they have. Other hosts know most of what such a host has, and leave
// it alone afterwards too.
const SettleTime = 60 * time.Second

// compareGap lies between two comparisons that other hosts' records ask for.
const compareGap = 5 * time.Second

// State is the epoch that this host goes by, and how far this host has come in it.
// The exported fields are durable.
type State struct {
	Epoch    record.Epoch `json:"epoch"`
	MayClaim bool         `json:"settled"` // new claims are allowed
	Alone    bool         `json:"alone"`   // the store is of this host alone, see registry.Config

	revision         uint64            // of the epoch's record; 0: the store does not have it as far as known
	unread           error             // why that record cannot be used; nil: it can
	since            time.Time         // when this process learned of the epoch
	firstEpoch       bool              // this host went by no epoch before
	claimsComparedIn string            // id of the epoch in which this host's claims were last compared with the store
	downBefore       map[string]bool   // hosts that were down already when it began, if this process ran then
	seen             map[string]uint64 // revisions of lasting records
	saved            map[string]uint64 // seen as state has it
	lossEvidence     map[string]uint64 // seen as it was before the store seemed to have lost data; nil: it does not
	signs            uint64            // how often the store has seemed so
	compareClaims    bool              // the store may have something else than this host's claims
	comparedAt       time.Time         // last comparison because of that
}

// View is what else this host knows when it decides.
type View struct {
	Self      overlay.Host
	Hosts     iter.Seq[record.HostDoc] // what the other hosts say of themselves
	HostsRead bool                     // this process has read that from the store

	// Remains are the VTEPs of the hosts that this host knows by its kernel only, its
	// own among them, sorted; empty: its records are whole.
	Remains []netip.Addr
}

// New is the State of a host that has seen no store yet.
func New(now time.Time) State { return State{since: now, seen: map[string]uint64{}} }

// LoadSeen takes the revisions of lasting records from this host's state.
func (s *State) LoadSeen(decode func(any) error) error { return decode(&s.seen) }

// Loaded goes on with what was loaded. alone says whether the store is of this host
// alone now; if it was not before, or the other way round, the store is another one, which
// knows nothing of what the former store had: forgets says so, and changed whether there
// was a former one.
func (s *State) Loaded(alone bool) (forgets, changed bool) {
	s.saved = maps.Clone(s.seen)
	if forgets = s.Alone != alone; forgets {
		changed = s.Epoch.ID != ""
		*s = State{Alone: alone, since: s.since, seen: map[string]uint64{}}
	}
	if s.MayClaim {
		s.claimsComparedIn = s.Epoch.ID
	}
	return forgets, changed
}

// Standing is how the store's epoch stands to the one that a host goes by.
type Standing int

// The standings of the store's epoch.
const (
	Current Standing = iota
	Newer            // somebody has noticed a loss
	Lost             // the store has none, or one of before or beside
)

// Compare says how the store's epoch stands to the one known here.
func Compare(known, stored record.Epoch) Standing {
	switch {
	case stored.ID == "" || stored.N == 0:
		return Lost
	case stored.ID == known.ID:
		return Current
	case stored.N > known.N:
		return Newer
	}
	return Lost
}

// SeeEpoch takes what a watch shows of the epoch's record, or why that cannot be used. An
// unread epoch says nothing: claims wait until it is mended. It says how the record stands
// to the epoch of this host, which enters a newer one with Enter, and whether there is
// something to do.
func (s *State) SeeEpoch(stored record.Epoch, revision uint64, unread error) (standing Standing, due bool) {
	due = s.unread != nil && unread == nil // what was noticed meanwhile
	s.revision, s.unread = revision, unread
	if unread != nil {
		return Current, due
	}
	standing = Compare(s.Epoch, stored)
	switch standing {
	case Lost:
		s.revision = 0
		s.NoteLoss()
		due = true
	case Current:
		due = due || s.claimsComparedIn != s.Epoch.ID // this process has waited for the revision
	case Newer:
	}
	return standing, due
}

// SeeRecords looks at the records that a watch of the prefix shows for signs of a loss,
// and says whether there is one. An unread record is there, so it is none; and since a
// person is asked to delete it, its end is none either.
func (s *State) SeeRecords(prefix string, pairs []kvstore.Pair, unread map[string]bool) (due bool) {
	now := record.Revisions(pairs)
	if len(wentBack(s.seen, now, prefix)) > 0 {
		s.NoteLoss()
		due = true
	}
	maps.DeleteFunc(s.seen, func(key string, _ uint64) bool { return strings.HasPrefix(key, prefix) })
	maps.DeleteFunc(now, func(key string, _ uint64) bool { return unread[key] })
	maps.Copy(s.seen, now)
	return due
}

// wentBack gives the keys under prefix, sorted, of the records that are missing now or
// have a lower revision than before.
func wentBack(before, now map[string]uint64, prefix string) []string {
	var out []string
	for key, revision := range before {
		if strings.HasPrefix(key, prefix) && now[key] < revision {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// SeeTombstone says that the record is a tombstone, whose end is no loss.
func (s *State) SeeTombstone(key string) { delete(s.seen, key) }

// Seen are the revisions of lasting records as they are now.
func (s *State) Seen() map[string]uint64 { return maps.Clone(s.seen) }

// Unsaved gives the revisions that were seen if state is to have them: they are others
// than it has, and it is settled that the store has lost none of them.
func (s *State) Unsaved() (seen map[string]uint64, unsaved bool) {
	return s.seen, !maps.Equal(s.seen, s.saved) && s.lossEvidence == nil
}

// Saved says that state has what Unsaved gave.
func (s *State) Saved() { s.saved = maps.Clone(s.seen) }

// Known says whether the store has the epoch that this host goes by.
func (s *State) Known() bool { return s.revision != 0 }

// Unread says why the epoch's record cannot be used; nil: it can.
func (s *State) Unread() error { return s.unread }

// Check is the condition that the store is in the epoch that this host goes by.
func (s *State) Check() kvstore.Op {
	return kvstore.Op{Kind: kvstore.Check, Key: record.EpochKey, Revision: s.revision}
}
