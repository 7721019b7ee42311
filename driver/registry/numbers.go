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

	"github.com/weft-net/weft/driver/arrival"
	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/endpoints"
	"github.com/weft-net/weft/driver/registry/networks"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/registry/sequence"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// mostDocument is the most bytes of a document without its number: with that, readers
// take it.
const mostDocument = format.MaxBytes - 1<<10

// documents are this host's attachments as others are told of them, with their numbers
// and that of this process.
type documents struct {
	*core
	networks  *networks.Networks
	endpoints *endpoints.Endpoints
	arrivals  *arrival.Arrivals
	rebuild   *rebuild

	numbering sync.Mutex // taken before core.writes and core.mu; held over writes to state
	sequence  sequence.Sequence

	// What the sequence says of itself, for those who cannot wait for numbering.
	runs, high atomic.Uint64
}

// tell makes known what the sequence says of itself. numbering is held.
func (d *documents) tell() {
	d.runs.Store(d.sequence.Runs())
	d.high.Store(d.sequence.High())
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

// ErrRebuilding is in the error of a host whose records are lost, and which does not know
// yet what it had.
var ErrRebuilding = errors.New("this host's records are lost, and what it has is not known yet")

// Documents gives this host's attachments with numbers above since. It fails with an
// ErrRebuilding as long as these may lack endpoints that other hosts know of.
func (d *documents) Documents(ctx context.Context, since uint64) (Documents, error) {
	if d.rebuild.unknown() {
		return Documents{}, ErrRebuilding
	}
	d.numbering.Lock()
	defer d.numbering.Unlock()
	if err := d.renumber(ctx); err != nil {
		return Documents{}, err
	}
	self := d.Self()
	out := Documents{Host: self.Name, Incarnation: self.Incarnation, Seq: d.sequence.High()}
	out.Networks, out.New = d.sequence.Since(since)
	return out, nil
}

// Seq is the highest number that this host has given to an attachment.
func (d *documents) Seq() uint64 { return d.high.Load() }

// Runs counts the processes of this host, this one included, as far as its state or
// the store has seen them.
func (d *documents) Runs() uint64 { return d.runs.Load() }

// renumber gives a new number to what has changed. numbering is held.
func (d *documents) renumber(ctx context.Context) error {
	s := &d.sequence
	current, err := d.contents()
	if err != nil {
		return err
	}
	changed := s.Changed(current)
	if saved, short := s.Reserve(len(changed)); short {
		if err := d.put(ctx, record.StateSequence, saved); err != nil {
			return err
		}
		s.Saved(saved)
	}
	s.Number(changed)
	d.tell()
	return nil
}

// contents are this host's attachments without numbers.
func (d *documents) contents() (map[string]sequence.Doc, error) {
	pooled := d.pooled()
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := map[string]sequence.Doc{}
	var large []skipped.Record
	for _, at := range d.attachmentsLocked(pooled) {
		b, cut, err := record.Fit(&at, mostDocument)
		if err != nil {
			return nil, fmt.Errorf("encode attachment: %w", err)
		}
		if cut != "" {
			n, _ := d.networks.Record(at.Network)
			large = append(large, record.Cut(at, cmp.Or(n.Name, at.Network), cut))
		}
		out[at.Network] = sequence.Doc{Attachment: at, Digest: record.Digest(b)}
	}
	slices.SortFunc(large, func(a, b skipped.Record) int { return cmp.Compare(a.Key, b.Key) })
	if news := d.skipped.Saw("own", large...); len(news) > 0 {
		d.log.WithField("first", news[0].Text()).Warn("What this host has in a network is too much for one record, and is published in part; everything else goes on.")
	}
	return out, nil
}

// beginSequence takes the numbers over from the process before.
func (d *documents) beginSequence(ctx context.Context) error {
	var saved sequence.Saved
	switch p, err := d.state.Get(ctx, record.StateSequence); {
	case err == nil:
		if err := json.Unmarshal(p.Value, &saved); err != nil {
			return fmt.Errorf("record %s is %w: %w", record.StateSequence, ErrDamaged, err)
		}
	case !errors.Is(err, kvstore.ErrNotFound):
		return err
	}
	d.sequence, saved = sequence.Begin(saved, d.self.Name, d.self.Incarnation)
	d.tell()
	return d.put(ctx, record.StateSequence, saved)
}

// endSequence leaves behind which content has which number. A later change is like one
// after a crash: it saves the next block, and no contents.
func (d *documents) endSequence(ctx context.Context) error {
	d.numbering.Lock()
	defer d.numbering.Unlock()
	saved := d.sequence.End()
	if err := d.put(ctx, record.StateSequence, saved); err != nil {
		return err
	}
	d.sequence.Saved(saved)
	return nil
}

// overtake makes the numbers go on above those that the store has of this host.
func (d *documents) overtake(stored []kvstore.Pair) {
	self, highest := d.Self(), uint64(0)
	for _, pair := range stored {
		var at overlay.Attachment
		if json.Unmarshal(pair.Value, &at) == nil && at.Incarnation == self.Incarnation {
			highest = max(highest, at.Seq)
		}
	}
	d.numbering.Lock()
	defer d.numbering.Unlock()
	was := d.sequence.High()
	if !d.sequence.Overtake(highest) {
		return
	}
	d.tell()
	d.log.WithFields(map[string]any{"store": highest, "state": was}).
		Warn("This host's state is older than what the store has of it; its records are numbered anew above those.")
}

// outlive makes this process one after the process that the store's record of this host
// is of.
func (d *documents) outlive(ctx context.Context, was record.HostDoc) error {
	d.numbering.Lock()
	defer d.numbering.Unlock()
	saved, later := d.sequence.Outlive(was.Runs)
	if was.Incarnation != d.Self().Incarnation || !later {
		return nil
	}
	if err := d.put(ctx, record.StateSequence, saved); err != nil {
		return err
	}
	d.log.WithFields(map[string]any{"store": was.Runs, "state": d.sequence.Runs()}).
		Info("The store knows a later process of this host than its state does; its messages are numbered above that one's.")
	d.sequence.Saved(saved)
	d.tell()
	return nil
}
