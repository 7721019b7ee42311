package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// # How this host's attachments are numbered
//
// A number says which of two documents of one host is newer, whichever way they
// came. Giving one out must therefore survive a crash, but not cost a write to
// the disk on a container's way to its start: a block of numbers is written off
// before its first is used, and what is left of it is lost with the process. A
// process that ends in order also leaves behind which content has which number,
// so that a restart changes no document and no peer has to fetch any.

// block is how many numbers are written off at once.
const block = 1000

// mostDocument is the most bytes of a document without its number: with that, readers
// take it.
const mostDocument = format.MaxBytes - 1<<10

// keptGone is how many withdrawals are remembered, for peers that missed one.
// Those that ask later see from Documents.Networks what is not there any more.
const keptGone = 256

// numbers is the sequence as state has it.
type numbers struct {
	Runs uint64            `json:"runs"`           // processes so far
	Next uint64            `json:"next"`           // no number from here on was given out
	Docs map[string]number `json:"docs,omitempty"` // by network id; only if it is all that was given out
}

// number is one document's, with what it was given for.
type number struct {
	Seq    uint64 `json:"seq"`
	Digest string `json:"digest"` // of the document without its number
}

// own is one of this host's attachments with its number.
type own struct {
	overlay.Attachment
	digest string // without the number
}

// sequence numbers this host's attachments.
type sequence struct {
	mu    sync.Mutex // taken before Registry.writes and Registry.mu; held over writes to state
	runs  atomic.Uint64
	high  atomic.Uint64  // the last that was given out; changed with mu held
	limit uint64         // numbers below are written off
	docs  map[string]own // by network id, those that are gone too
}

// Documents is what one host tells another of its attachments.
type Documents struct {
	Host        string
	Incarnation string
	Seq         uint64               // the highest number given out
	Networks    []string             // all that the host is attached to, sorted
	New         []overlay.Attachment // those with a higher number than was asked for, ascending; the Gone among them
	Unread      int                  // that came and cannot be used here
}

// Documents gives this host's attachments with numbers above since.
func (r *Registry) Documents(ctx context.Context, since uint64) (Documents, error) {
	r.sequence.mu.Lock()
	defer r.sequence.mu.Unlock()
	if err := r.renumber(ctx); err != nil {
		return Documents{}, err
	}
	self := r.Self()
	out := Documents{Host: self.Name, Incarnation: self.Incarnation, Seq: r.sequence.high.Load()}
	for network, doc := range r.sequence.docs {
		if !doc.Gone {
			out.Networks = append(out.Networks, network)
		}
		if doc.Seq > since {
			out.New = append(out.New, doc.Attachment)
		}
	}
	slices.Sort(out.Networks)
	slices.SortFunc(out.New, func(a, b overlay.Attachment) int { return cmp.Compare(a.Seq, b.Seq) })
	return out, nil
}

// Seq is the highest number that this host has given to an attachment.
func (r *Registry) Seq() uint64 {
	return r.sequence.high.Load()
}

// Runs counts the processes of this host, this one included, as far as its state or
// the store has seen them.
func (r *Registry) Runs() uint64 { return r.sequence.runs.Load() }

// renumber gives a new number to what has changed. sequence.mu is held.
func (r *Registry) renumber(ctx context.Context) error {
	s := &r.sequence
	current, err := r.contents()
	if err != nil {
		return err
	}
	var changed []own
	for _, network := range slices.Sorted(maps.Keys(current)) {
		doc, old := current[network], s.docs[network]
		if old.digest == doc.digest && !old.Gone {
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
		changed = append(changed, own{Attachment: overlay.Attachment{
			Network: network, Host: old.Host, Incarnation: old.Incarnation, Gone: true,
		}})
	}
	if err := r.reserve(ctx, uint64(len(changed))); err != nil {
		return err
	}
	for _, doc := range changed {
		doc.Seq = s.high.Add(1)
		s.docs[doc.Network] = doc
	}
	s.forgetGone()
	return nil
}

// contents are this host's attachments without numbers.
func (r *Registry) contents() (map[string]own, error) {
	stocks := r.stocks()
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make(map[string]own, len(r.docker))
	var large []skipped.Record
	for _, doc := range r.attachmentsLocked(stocks) {
		b, cut, err := record.Fit(&doc, mostDocument)
		if err != nil {
			return nil, fmt.Errorf("encode attachment: %w", err)
		}
		if cut != "" {
			n := r.networks[doc.Network]
			large = append(large, record.Cut(doc, cmp.Or(n.Name, doc.Network), cut))
		}
		out[doc.Network] = own{Attachment: doc, digest: record.Digest(b)}
	}
	slices.SortFunc(large, func(a, b skipped.Record) int { return cmp.Compare(a.Key, b.Key) })
	if news := r.skipped.Saw("own", large...); len(news) > 0 {
		r.log.WithField("first", news[0].Text()).Warn("What this host has in a network is too much for one record, and is published in part; everything else goes on.")
	}
	return out, nil
}

// reserve makes sure that the next n numbers are written off.
func (r *Registry) reserve(ctx context.Context, n uint64) error {
	s := &r.sequence
	if n == 0 || s.high.Load()+n < s.limit {
		return nil
	}
	limit := s.high.Load() + n + block
	if err := r.put(ctx, record.StateSequence, numbers{Runs: s.runs.Load(), Next: limit}); err != nil {
		return err
	}
	s.limit = limit
	return nil
}

// forgetGone drops the oldest withdrawals if there are too many.
func (s *sequence) forgetGone() {
	var gone []own
	for _, doc := range s.docs {
		if doc.Gone {
			gone = append(gone, doc)
		}
	}
	if len(gone) <= keptGone {
		return
	}
	slices.SortFunc(gone, func(a, b own) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, doc := range gone[:len(gone)-keptGone] {
		delete(s.docs, doc.Network)
	}
}

// beginSequence takes the numbers over from the process before.
func (r *Registry) beginSequence(ctx context.Context) error {
	s := &r.sequence
	var n numbers
	switch p, err := r.state.Get(ctx, record.StateSequence); {
	case err == nil:
		if err := json.Unmarshal(p.Value, &n); err != nil {
			return fmt.Errorf("record %s is %w: %w", record.StateSequence, ErrDamaged, err)
		}
	case !errors.Is(err, kvstore.ErrNotFound):
		return err
	}
	n.Runs++
	n.Next = max(n.Next, 1)
	s.runs.Store(n.Runs)
	s.high.Store(n.Next - 1)
	s.limit, s.docs = n.Next, make(map[string]own, len(n.Docs))
	for network, doc := range n.Docs {
		s.docs[network] = own{
			Attachment: overlay.Attachment{Network: network, Host: r.self.Name, Incarnation: r.self.Incarnation, Seq: doc.Seq},
			digest:     doc.Digest,
		}
	}
	return r.put(ctx, record.StateSequence, n)
}

// endSequence leaves behind which content has which number.
func (r *Registry) endSequence(ctx context.Context) error {
	s := &r.sequence
	s.mu.Lock()
	defer s.mu.Unlock()
	n := numbers{Runs: s.runs.Load(), Next: s.high.Load() + 1, Docs: map[string]number{}}
	for network, doc := range s.docs {
		if !doc.Gone {
			n.Docs[network] = number{Seq: doc.Seq, Digest: doc.digest}
		}
	}
	if err := r.put(ctx, record.StateSequence, n); err != nil {
		return err
	}
	s.limit = n.Next // a later change is a crash's business: it drops Docs first
	return nil
}

// overtake makes the numbers go on above those that the store has of this
// host. They are higher than its own only if its state is an old copy.
func (r *Registry) overtake(stored []kvstore.Pair) {
	self, highest := r.Self(), uint64(0)
	for _, p := range stored {
		var at overlay.Attachment
		if json.Unmarshal(p.Value, &at) == nil && at.Incarnation == self.Incarnation {
			highest = max(highest, at.Seq)
		}
	}
	s := &r.sequence
	s.mu.Lock()
	defer s.mu.Unlock()
	if highest <= s.high.Load() {
		return
	}
	r.log.WithFields(map[string]any{"store": highest, "state": s.high.Load()}).
		Warn("This host's state is older than what the store has of it; its records are numbered anew above those.")
	s.high.Store(highest)
	clear(s.docs)
}
