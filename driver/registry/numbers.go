package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/registry/sequence"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// mostDocument is the most bytes of a document without its number: with that, readers
// take it.
const mostDocument = format.MaxBytes - 1<<10

// numbers are those of this host's attachments and of its processes.
type numbers struct {
	mu       sync.Mutex // taken before Registry.writes and Registry.mu; held over writes to state
	sequence sequence.Sequence

	// What the sequence says of itself, for those who cannot wait for mu.
	runs, high atomic.Uint64
}

// tell makes known what the sequence says of itself. mu is held.
func (n *numbers) tell() {
	n.runs.Store(n.sequence.Runs())
	n.high.Store(n.sequence.High())
}

// Documents is what one host tells another of its attachments.
type Documents struct {
	Host        string
	Incarnation string
	Seq         uint64               // the highest number given out
	Networks    []string             // all that the host is attached to, sorted
	New         []overlay.Attachment // those with a higher number than was asked for, ascending; the Gone among them
	Unread      int                  // how many came that cannot be used here
}

// Documents gives this host's attachments with numbers above since.
func (r *Registry) Documents(ctx context.Context, since uint64) (Documents, error) {
	n := &r.numbers
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := r.renumber(ctx); err != nil {
		return Documents{}, err
	}
	self := r.Self()
	out := Documents{Host: self.Name, Incarnation: self.Incarnation, Seq: n.sequence.High()}
	out.Networks, out.New = n.sequence.Since(since)
	return out, nil
}

// Seq is the highest number that this host has given to an attachment.
func (r *Registry) Seq() uint64 { return r.numbers.high.Load() }

// Runs counts the processes of this host, this one included, as far as its state or
// the store has seen them.
func (r *Registry) Runs() uint64 { return r.numbers.runs.Load() }

// renumber gives a new number to what has changed. numbers.mu is held.
func (r *Registry) renumber(ctx context.Context) error {
	s := &r.numbers.sequence
	current, err := r.contents()
	if err != nil {
		return err
	}
	changed := s.Changed(current)
	if saved, short := s.Reserve(len(changed)); short {
		if err := r.put(ctx, record.StateSequence, saved); err != nil {
			return err
		}
		s.Saved(saved)
	}
	s.Number(changed)
	r.numbers.tell()
	return nil
}

// contents are this host's attachments without numbers.
func (r *Registry) contents() (map[string]sequence.Doc, error) {
	pooled := r.pooled()
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make(map[string]sequence.Doc, len(r.docker))
	var large []skipped.Record
	for _, at := range r.attachmentsLocked(pooled) {
		b, cut, err := record.Fit(&at, mostDocument)
		if err != nil {
			return nil, fmt.Errorf("encode attachment: %w", err)
		}
		if cut != "" {
			n := r.networks[at.Network]
			large = append(large, record.Cut(at, cmp.Or(n.Name, at.Network), cut))
		}
		out[at.Network] = sequence.Doc{Attachment: at, Digest: record.Digest(b)}
	}
	slices.SortFunc(large, func(a, b skipped.Record) int { return cmp.Compare(a.Key, b.Key) })
	if news := r.skipped.Saw("own", large...); len(news) > 0 {
		r.log.WithField("first", news[0].Text()).Warn("What this host has in a network is too much for one record, and is published in part; everything else goes on.")
	}
	return out, nil
}

// beginSequence takes the numbers over from the process before.
func (r *Registry) beginSequence(ctx context.Context) error {
	var saved sequence.Saved
	switch p, err := r.state.Get(ctx, record.StateSequence); {
	case err == nil:
		if err := json.Unmarshal(p.Value, &saved); err != nil {
			return fmt.Errorf("record %s is %w: %w", record.StateSequence, ErrDamaged, err)
		}
	case !errors.Is(err, kvstore.ErrNotFound):
		return err
	}
	r.numbers.sequence, saved = sequence.Begin(saved, r.self.Name, r.self.Incarnation)
	r.numbers.tell()
	return r.put(ctx, record.StateSequence, saved)
}

// endSequence leaves behind which content has which number. A later change is like one
// after a crash: it saves the next block, and no contents.
func (r *Registry) endSequence(ctx context.Context) error {
	n := &r.numbers
	n.mu.Lock()
	defer n.mu.Unlock()
	saved := n.sequence.End()
	if err := r.put(ctx, record.StateSequence, saved); err != nil {
		return err
	}
	n.sequence.Saved(saved)
	return nil
}

// overtake makes the numbers go on above those that the store has of this host.
func (p *publisher) overtake(stored []kvstore.Pair) {
	self, highest := p.Self(), uint64(0)
	for _, pair := range stored {
		var at overlay.Attachment
		if json.Unmarshal(pair.Value, &at) == nil && at.Incarnation == self.Incarnation {
			highest = max(highest, at.Seq)
		}
	}
	n := &p.numbers
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.sequence.High()
	if !n.sequence.Overtake(highest) {
		return
	}
	n.tell()
	p.log.WithFields(map[string]any{"store": highest, "state": was}).
		Warn("This host's state is older than what the store has of it; its records are numbered anew above those.")
}

// outlive makes this process one after the process that the store's record of this host
// is of.
func (p *publisher) outlive(ctx context.Context, was record.HostDoc) error {
	n := &p.numbers
	n.mu.Lock()
	defer n.mu.Unlock()
	saved, later := n.sequence.Outlive(was.Runs)
	if was.Incarnation != p.Self().Incarnation || !later {
		return nil
	}
	if err := p.put(ctx, record.StateSequence, saved); err != nil {
		return err
	}
	p.log.WithFields(map[string]any{"store": was.Runs, "state": n.sequence.Runs()}).
		Info("The store knows a later process of this host than its state does; its messages are numbered above that one's.")
	n.sequence.Saved(saved)
	n.tell()
	return nil
}
