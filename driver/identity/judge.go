package identity

import (
	"net/netip"
	"slices"
)

// Owner is who has a host's place, as the store has it.
type Owner struct {
	Machine     Machine `json:"machine,omitzero"`
	Incarnation string  `json:"inc"`
	Run         string  `json:"run"`

	VTEP netip.Addr `json:"vtep,omitzero"` // by which other hosts reach it
}

// Self is the process that wants the place.
type Self struct {
	Owner
	Was      string   // the machine whose place this one takes, as somebody has told it to
	New      bool     // the state has no word of a process before this one
	Revision uint64   // of the state
	Former   []string // incarnations that the host had before this one, as far as known; the newest last
}

// Found is what the store has of the host of that name.
type Found struct {
	Owner       Owner      // zero: none, or weft there is older than this record
	Former      []string   // incarnations that the host had before the owner's; the newest last
	Known       bool       // there is a record of the host
	Left        bool       // which says that it has left
	Incarnation string     // the record's
	VTEP        netip.Addr // the record's
	Revision    uint64     // which the state had at least when the record was written
	Lease       string     // the value under the lease; empty: nobody has the lease
}

// Standing is how a process stands to the place that it wants.
type Standing int

// The standings.
const (
	Free    Standing = iota // it may take the place
	Busy                    // another process of this host lives, or has died without a word in the last seconds
	Older                   // its state is older than what its host has told the store
	Foreign                 // another machine has the place
)

// Judge says how s stands to the place.
func (s Self) Judge(f Found) Standing {
	former := slices.Contains(f.Former, s.Incarnation)
	switch {
	case f.vacant() && former:
		return Older
	case f.vacant():
		return Free
	case !s.is(f):
		return Foreign
	case f.Lease != "" && f.Lease != s.Run && !s.Inherits(f):
		return Busy
	case f.Incarnation == s.Incarnation && s.Revision < f.Revision, former:
		return Older
	}
	return Free
}

// mostFormer is how many former incarnations of a host are known.
const mostFormer = 16

// Succeeds gives the incarnations that the host had before s once s has the place.
func (s Self) Succeeds(f Found) []string {
	var out []string
	for _, was := range slices.Concat(s.Former, f.Former, []string{f.Incarnation, f.Owner.Incarnation}) {
		if was != "" && was != s.Incarnation && !slices.Contains(out, was) {
			out = append(out, was)
		}
	}
	return out[max(len(out)-mostFormer, 0):]
}

// vacant says whether nobody has the place. The record of a host that has left says
// nothing of one that has taken its place since and has not written its own yet.
func (f Found) vacant() bool {
	if f.Owner == (Owner{}) {
		return f.Left || !f.Known
	}
	return f.Left && f.Owner.Incarnation == f.Incarnation
}

// At is where the host of that name is, or was last.
func (f Found) At() netip.Addr {
	if f.Owner != (Owner{}) {
		return f.Owner.VTEP
	}
	return f.VTEP
}

// is says whether the place is this host's. Two machines never have one address
// at once, so a machine at the address of the one that has the place has replaced
// that, or is it.
func (s Self) is(f Found) bool {
	if f.At().IsValid() && f.At() == s.VTEP || f.Owner.Machine.Is(s.Was) {
		return true
	}
	same, known := s.Machine.Compare(f.Owner.Machine)
	if known {
		return same
	}
	return s.Incarnation != "" && (s.Incarnation == f.Incarnation || s.Incarnation == f.Owner.Incarnation)
}

// Inherits says whether the lease is surely that of a dead process of this host,
// of which the state knows nothing: it was lost, or comes from a weft that wrote
// no word of its processes. The machine has but one process of weft, for its
// sockets, and but one machine has the address.
func (s Self) Inherits(f Found) bool {
	same, known := s.Machine.Compare(f.Owner.Machine)
	return s.New && f.Lease != "" && f.At() == s.VTEP && (same || !known)
}
