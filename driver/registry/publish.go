package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// recheck is how often the publisher reads what the store has of this host
// without a reason to.
const recheck = 5 * time.Minute

// lateWriteLook is how often what the store has is read again while a write that seemed
// to fail may still be carried out (kvstore.LateWrites).
const lateWriteLook = 3 * time.Second

// publisher brings the cluster's store up to date with this host.
type publisher struct {
	*core
	epochs    *epochs
	published *publication
	place     *place
	contact   *contact
	keyring   *Keyring
	documents *documents
	rebuild   *rebuild
	remover   *remover

	sent            map[string]string // own keys as the store is known to have them; nil: not known
	mine            uint64            // the own record's revision then, which the next write must find; 0: there was none, or it is not known
	read            time.Time         // when sent was last read from the store
	own             uint64            // mine when it was last known: a lower one in the same epoch shows a loss
	ownIn           string            // id of the epoch of the store in which own was noted
	lateWritesUntil time.Time         // until then a write that seemed to fail may still be carried out
	stateAt         uint64            // revision of this host's state in the own record
}

// lateWrites says whether a late write may have come over what was read last.
func (p *publisher) lateWrites() bool { return p.read.Before(p.lateWritesUntil) }

// due is when the store is to be read again.
func (p *publisher) due() time.Time {
	if p.lateWrites() {
		return p.read.Add(lateWriteLook)
	}
	return p.read.Add(recheck)
}

// run publishes until ctx ends.
func (p *publisher) run(ctx context.Context) error {
	changes, stop := p.local.subscribe()
	defer stop()
	// Who ran before may have left something under way.
	p.lateWritesUntil = time.Now().Add(kvstore.LateWrites)
	retry := newBackoff()
	for {
		err := p.publish(ctx)
		switch {
		case err != nil && ctx.Err() != nil: // broken off here, which says nothing of the store
			return nil
		case errors.Is(err, ErrPlace), errors.Is(err, ErrOlder):
			return err
		case errors.Is(err, kvstore.ErrConflict): // which is an answer
			p.contact.set(nil)
		case !errors.Is(err, kvstore.ErrUnwritable):
			p.contact.set(err)
		}
		wait := max(time.Until(p.due()), 0)
		if err != nil {
			p.sent = nil // whatever happened, read again
			p.lateWritesUntil = time.Now().Add(kvstore.LateWrites)
			wait = retry.NextBackOff()
		} else {
			retry.Reset()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case <-changes:
			if err == nil {
				continue
			}
			// An unreachable store is not asked more often because more has happened here.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
		}
	}
}

// publish makes the store have what this host wants it to have.
func (p *publisher) publish(ctx context.Context) error {
	if err := p.place.take(ctx); err != nil {
		return err
	}
	reread, due := p.published.takeReread(), !time.Now().Before(p.due())
	if reread {
		p.lateWritesUntil = time.Now().Add(kvstore.LateWrites)
	}
	var err error
	switch {
	case reread || p.sent == nil || due && !p.lateWrites():
		err = p.bootstrap(ctx)
	case due:
		err = p.readOwn(ctx)
	}
	if err != nil {
		return err
	}
	// The records that show a loss of data must not be written over before it is settled
	// whether there was one.
	if err := p.settled(ctx); err != nil {
		return err
	}
	if err := p.remover.reassert(ctx); err != nil {
		return err
	}
	if err := p.remover.settleRemovals(ctx, p.lateWrites()); err != nil {
		return err
	}
	want, err := p.wanted(ctx)
	if err != nil {
		return err
	}
	err = p.write(ctx, want)
	if errors.Is(err, kvstore.ErrConflict) {
		p.published.republishAll()
		return nil
	}
	return err
}

// bootstrap writes what every cluster has once, and reads what the store has
// of this host.
func (p *publisher) bootstrap(ctx context.Context) error {
	identity := p.keyring.Meta()
	if identity.ID == "" {
		identity = record.Meta{ID: newID() + newID(), ULA: randomULA(), PSK: []string{newSecret()}}
	}
	meta, err := json.Marshal(identity) // of before, if the store was wiped
	if err != nil {
		return fmt.Errorf("encode the cluster's identity: %w", err)
	}
	op := kvstore.Op{Kind: kvstore.CAS, Key: record.MetaKey, Value: meta}
	if _, err := p.cluster.Txn(ctx, op); err != nil && !errors.Is(err, kvstore.ErrConflict) {
		return fmt.Errorf("set up the cluster's records: %w", err)
	}
	if _, err := p.keyring.learnMeta(ctx); err != nil {
		return err
	}
	return p.readOwn(ctx)
}

// readOwn reads what the store has of this host.
func (p *publisher) readOwn(ctx context.Context) error {
	began := time.Now()
	self := p.Self().Name
	sent := map[string]string{}
	own, _, err := p.cluster.List(ctx, record.AttachmentKey(self, ""))
	if err != nil {
		return fmt.Errorf("read what the store has of this host: %w", err)
	}
	var passed []skipped.Record
	for _, pair := range own {
		if !overlay.ValidID(strings.TrimPrefix(pair.Key, record.AttachmentKey(self, ""))) { // nor can it be deleted
			cannot, _ := skipped.Of(pair.Key, format.Faultf(format.Unknown, "stands under a key that weft does not know"))
			passed = append(passed, cannot)
			continue
		}
		sent[pair.Key] = string(pair.Value)
	}
	p.passOver(record.AttachmentKey(self, ""), passed...)
	if err := p.inherit(ctx, own); err != nil {
		return err
	}
	p.documents.overtake(own)
	doc, err := p.cluster.Get(ctx, record.HostKey(self))
	switch {
	case err == nil:
		sent[doc.Key] = string(doc.Value)
		var was record.HostDoc
		if json.Unmarshal(doc.Value, &was) == nil {
			p.stateAt = was.State
			if doc.Revision != p.own {
				if err := p.documents.outlive(ctx, was); err != nil {
					return err
				}
			}
		}
	case !errors.Is(err, kvstore.ErrNotFound):
		return fmt.Errorf("read what the store has of this host: %w", err)
	}
	if p.mine > 0 && p.mine != doc.Revision {
		p.mu.Lock()
		p.epochs.compareClaimsLocked()
		p.mu.Unlock()
	}
	epoch := p.epochs.epochID()
	if doc.Revision < p.own && p.ownIn == epoch {
		p.epochs.noteOlder(record.HostKey(self), p.own)
	}
	p.sent, p.mine, p.read = sent, doc.Revision, began
	p.own, p.ownIn = doc.Revision, epoch
	return nil
}

// wanted gives this host's records by key, the host's own among them.
func (p *publisher) wanted(ctx context.Context) (map[string]string, error) {
	docs, err := p.documents.Documents(ctx, 0)
	if err != nil {
		return nil, err
	}
	doc := record.HostDoc{Host: p.Self(), Digests: map[string]string{}, Seq: docs.Seq, Runs: p.documents.Runs()}
	doc.Epoch, doc.Settled = p.compared()
	want := map[string]string{}
	for _, at := range docs.New {
		if at.Gone {
			continue
		}
		b, err := json.Marshal(at)
		if err != nil {
			return nil, fmt.Errorf("encode attachment: %w", err)
		}
		want[record.AttachmentKey(at.Host, at.Network)] = string(b)
		doc.Digests[at.Network] = record.Digest(b)
	}
	b, err := p.dated(ctx, &doc)
	if err != nil {
		return nil, fmt.Errorf("encode host: %w", err)
	}
	want[record.HostKey(doc.Name)] = string(b)
	return want, nil
}

// dated encodes this host's record, with the revision of its state if something else in
// the record has changed: a new revision alone is not worth a write that wakes all hosts.
func (p *publisher) dated(ctx context.Context, doc *record.HostDoc) ([]byte, error) {
	doc.State = p.stateAt
	b, err := json.Marshal(doc)
	if err != nil || p.sent[record.HostKey(doc.Name)] == string(b) {
		return b, err
	}
	_, revision, err := p.state.List(ctx, record.StateSelf)
	if err != nil {
		return nil, err
	}
	p.stateAt, doc.State = revision, revision
	return json.Marshal(doc)
}

// compared is the epoch in which this host has recorded again what it has, and says
// whether this host claims new things in it.
func (p *publisher) compared() (id string, claims bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.epochs.Compared()
}

// write sends what differs, the host's own record with its digests last. Nobody else
// writes that record, so a conflict says that the store has gone back, or that an
// earlier write has come late.
func (p *publisher) write(ctx context.Context, want map[string]string) error {
	var ops []kvstore.Op
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if p.sent[key] == want[key] {
			continue
		}
		op := kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(want[key])}
		if strings.HasPrefix(key, record.HostPrefix) {
			op.Kind, op.Revision = kvstore.CAS, p.mine
		}
		ops = append(ops, op)
	}
	for key := range p.sent {
		if _, wanted := want[key]; !wanted {
			ops = append(ops, record.Delete(key))
		}
	}
	ops = p.possible(ops)
	slices.SortStableFunc(ops, func(a, b kvstore.Op) int { // at/… before host/… before deletions
		rank := func(o kvstore.Op) int {
			switch {
			case o.Kind == kvstore.Delete:
				return 2
			case strings.HasPrefix(o.Key, record.HostPrefix):
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	for batch := range kvstore.Batches(ops) {
		began := time.Now()
		pairs, err := p.cluster.Txn(ctx, batch...)
		if err != nil {
			p.mine = 0
			return fmt.Errorf("publish this host's records: %w", err)
		}
		p.mine = cmp.Or(p.published.wrote(pairs, began), p.mine)
		p.own = p.mine
	}
	p.sent = want
	p.mu.Lock()
	p.published.once = true
	p.mu.Unlock()
	return nil
}

// possible leaves out the operations that no store takes: they would keep everything
// else from being written.
func (p *publisher) possible(ops []kvstore.Op) []kvstore.Op {
	var passed []skipped.Record
	ops = slices.DeleteFunc(ops, func(op kvstore.Op) bool {
		err := kvstore.CheckOps([]kvstore.Op{op})
		if err != nil {
			passed = append(passed, skipped.Record{
				Key: op.Key, Kind: format.Large, Why: "cannot be written by this host: " + err.Error(), Cure: "use fewer networks on this host",
			})
		}
		return err != nil
	})
	p.passOver("unwritten", passed...)
	return ops
}
