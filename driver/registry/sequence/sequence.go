// Package sequence numbers a host's attachments. A number says which of two documents
// of one host is newer, whichever way they came.
//
// Giving a number out must therefore survive a crash, but not cost a write to the disk
// on a container's way to its start. So a block of numbers is written off before the
// first of them is used, and what is left of the block is lost with the process. A
// process that ends in order also leaves behind which content has which number, so that
// a restart changes no document and no peer has to fetch any.
//
// A Sequence is a value: who has it guards it, and writes what it says to the state.
package sequence

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// block is how many numbers are written off at once.
const block = 1000

// keptGone is how many withdrawals are remembered, for peers that missed one. Peers
// that ask later see in the list of networks what is not there any more.
const keptGone = 256

// Saved is a Sequence as the host's state has it.
type Saved struct {
	Runs uint64              `json:"runs"`           // processes so far
	Next uint64              `json:"next"`           // no number from here on was given out
	Docs map[string]SavedDoc `json:"docs,omitempty"` // by network id; only if no other number was given out
}

// SavedDoc is one document's number, with what it was given for.
type SavedDoc struct {
	Seq    uint64 `json:"seq"`
	Digest string `json:"digest"` // of the document without its number
}

// Doc is one of the host's attachments with its number.
type Doc struct {
	overlay.Attachment
	Digest string // of the attachment without its number
}

// Sequence numbers a host's attachments.
type Sequence struct {
	runs  uint64
	high  uint64         // the last number that was given out
	limit uint64         // numbers below it are written off
	docs  map[string]Doc // by network id, the withdrawn ones too
}

// Begin goes on after the process that saved this. The second value is to be saved
// before a number is given out.
func Begin(saved Saved, host, incarnation string) (Sequence, Saved) {
	saved.Runs++
	saved.Next = max(saved.Next, 1)
	s := Sequence{runs: saved.Runs, high: saved.Next - 1, limit: saved.Next, docs: make(map[string]Doc, len(saved.Docs))}
	for network, doc := range saved.Docs {
		s.docs[network] = Doc{
			Attachment: overlay.Attachment{Network: network, Host: host, Incarnation: incarnation, Seq: doc.Seq},
			Digest:     doc.Digest,
		}
	}
	return s, saved
}

// Runs counts the host's processes, this one included.
func (s *Sequence) Runs() uint64 { return s.runs }

// High is the last number that was given out.
func (s *Sequence) High() uint64 { return s.high }

// Changed compares the host's attachments, by network id, with those that have numbers.
// It gives those that need another one, sorted by network, and after them the
// withdrawals of those that are not there any more.
func (s *Sequence) Changed(current map[string]Doc) []Doc {
	var changed []Doc
	for _, network := range slices.Sorted(maps.Keys(current)) {
		doc, old := current[network], s.docs[network]
		if old.Digest == doc.Digest && !old.Gone {
			doc.Seq = old.Seq
			s.docs[network] = doc
			continue
		}
		changed = append(changed, doc)
	}
	for _, network := range slices.Sorted(maps.Keys(s.docs)) {
		old := s.docs[network]
		if _, still := current[network]; still || old.Gone {
			continue
		}
		changed = append(changed, Doc{Attachment: overlay.Attachment{
			Network: network, Host: old.Host, Incarnation: old.Incarnation, Gone: true,
		}})
	}
	return changed
}

// Reserve says what is to be saved before the next n numbers are given out; short is
// false if nothing is.
func (s *Sequence) Reserve(n int) (saved Saved, short bool) {
	if n == 0 || s.high+uint64(n) < s.limit {
		return Saved{}, false
	}
	return Saved{Runs: s.runs, Next: s.high + uint64(n) + block}, true
}

// Saved says that this has been saved.
func (s *Sequence) Saved(saved Saved) { s.runs, s.limit = saved.Runs, saved.Next }

// Number gives each document the next number.
func (s *Sequence) Number(changed []Doc) {
	for _, doc := range changed {
		s.high++
		doc.Seq = s.high
		s.docs[doc.Network] = doc
	}
	s.forgetGone()
}

// forgetGone drops the oldest withdrawals if there are too many.
func (s *Sequence) forgetGone() {
	var gone []Doc
	for _, doc := range s.docs {
		if doc.Gone {
			gone = append(gone, doc)
		}
	}
	if len(gone) <= keptGone {
		return
	}
	slices.SortFunc(gone, func(a, b Doc) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, doc := range gone[:len(gone)-keptGone] {
		delete(s.docs, doc.Network)
	}
}

// Since gives the networks that the host is attached to, sorted, and the documents with
// a higher number than seq, ascending, the withdrawals among them.
func (s *Sequence) Since(seq uint64) (networks []string, newer []overlay.Attachment) {
	for network, doc := range s.docs {
		if !doc.Gone {
			networks = append(networks, network)
		}
		if doc.Seq > seq {
			newer = append(newer, doc.Attachment)
		}
	}
	slices.Sort(networks)
	slices.SortFunc(newer, func(a, b overlay.Attachment) int { return cmp.Compare(a.Seq, b.Seq) })
	return networks, newer
}

// End is what a process that ends in order saves.
func (s *Sequence) End() Saved {
	saved := Saved{Runs: s.runs, Next: s.high + 1, Docs: map[string]SavedDoc{}}
	for network, doc := range s.docs {
		if !doc.Gone {
			saved.Docs[network] = SavedDoc{Seq: doc.Seq, Digest: doc.Digest}
		}
	}
	return saved
}

// Overtake goes on above a number that the store has of this host, and says whether it
// had to. The store's is higher only if the host's state is an old copy.
func (s *Sequence) Overtake(highest uint64) bool {
	if highest <= s.high {
		return false
	}
	s.high = highest
	clear(s.docs)
	return true
}

// Outlive makes this process one after the process that the store's record of this host
// is of, if it is not. later says so, and what is to be saved for it. The record is of a
// later process only if the host's state is an old copy.
func (s *Sequence) Outlive(stored uint64) (saved Saved, later bool) {
	if stored < s.runs || stored >= math.MaxUint32 {
		return Saved{}, false
	}
	return Saved{Runs: stored + 1, Next: max(s.limit, s.high+1)}, true
}
