package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// recheck is how often the publisher reads what the store has of this host
// without a reason to.
const recheck = 5 * time.Minute

// doubtTime is how long after its client has given up a write may still be
// carried out, over what was written since: Consul holds requests for 7 s while
// there is no leader, a leader those that it cannot commit for 30 s, and what a
// cut has kept from Consul arrives seconds after its end. Until then what the
// store has is read again every doubtLook.
const (
	doubtTime = 45 * time.Second
	doubtLook = 3 * time.Second
)

// publisher brings the cluster's store up to date with this host.
type publisher struct {
	*Registry
	sent  map[string]string // own keys as the store is known to have them; nil: not known
	read  time.Time         // when sent was last read from the store
	doubt time.Time         // until then a write that seemed to fail may still be carried out
}

// inDoubt says whether something may have come over what was read last.
func (p *publisher) inDoubt() bool { return p.read.Before(p.doubt) }

// due is when the store is to be read again.
func (p *publisher) due() time.Time {
	if p.inDoubt() {
		return p.read.Add(doubtLook)
	}
	return p.read.Add(recheck)
}

// runPublisher publishes until ctx ends.
func (r *Registry) runPublisher(ctx context.Context) error {
	changes, stop := r.local.subscribe()
	defer stop()
	// Who ran before may have left something under way.
	p := &publisher{Registry: r, doubt: time.Now().Add(doubtTime)}
	retry := newBackoff()
	for {
		err := p.publish(ctx)
		r.setContact(err)
		wait := max(time.Until(p.due()), 0)
		if err != nil {
			p.sent = nil // whatever happened, read again
			p.doubt = time.Now().Add(doubtTime)
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
	distrust, due := p.takeDistrust(), !time.Now().Before(p.due())
	if distrust {
		p.doubt = time.Now().Add(doubtTime)
	}
	var err error
	switch {
	case distrust || p.sent == nil || due && !p.inDoubt():
		err = p.bootstrap(ctx)
	case due:
		err = p.readOwn(ctx)
	}
	if err != nil {
		return err
	}
	if err := p.reassert(ctx); err != nil {
		return err
	}
	if err := p.settleRemovals(ctx); err != nil {
		return err
	}
	want, err := p.wanted(ctx)
	if err != nil {
		return err
	}
	return p.write(ctx, want)
}

// takeDistrust says once that the store has lost what it had of this host.
func (p *publisher) takeDistrust() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	lost := p.distrust
	p.distrust = false
	return lost
}

// bootstrap writes what every cluster has once, and reads what the store has
// of this host.
func (p *publisher) bootstrap(ctx context.Context) error {
	meta, err := json.Marshal(Meta{ID: newID() + newID(), ULA: randomULA(), PSK: []string{newKey()}})
	if err != nil {
		return fmt.Errorf("encode the cluster's identity: %w", err)
	}
	for _, op := range []kvstore.Op{
		{Kind: kvstore.CAS, Key: metaKey, Value: meta},
		{Kind: kvstore.CAS, Key: netKeep},
	} {
		if _, err := p.cluster.Txn(ctx, op); err != nil && !errors.Is(err, kvstore.ErrConflict) {
			return fmt.Errorf("set up the cluster's records: %w", err)
		}
	}
	if err := p.learnMeta(ctx); err != nil {
		return err
	}
	return p.readOwn(ctx)
}

// readOwn reads what the store has of this host.
func (p *publisher) readOwn(ctx context.Context) error {
	began := time.Now()
	self := p.Self().Name
	sent := map[string]string{}
	own, _, err := p.cluster.List(ctx, attachmentKey(self, ""))
	if err != nil {
		return fmt.Errorf("read what the store has of this host: %w", err)
	}
	for _, pair := range own {
		sent[pair.Key] = string(pair.Value)
	}
	if err := p.inherit(own); err != nil {
		return err
	}
	p.overtake(own)
	doc, err := p.cluster.Get(ctx, hostDocKey(self))
	switch {
	case err == nil:
		sent[doc.Key] = string(doc.Value)
	case !errors.Is(err, kvstore.ErrNotFound):
		return fmt.Errorf("read what the store has of this host: %w", err)
	}
	p.sent, p.read = sent, began
	return nil
}

// learnMeta reads the cluster's identity and keeps it.
func (p *publisher) learnMeta(ctx context.Context) error {
	pair, err := p.cluster.Get(ctx, metaKey)
	if err != nil {
		return fmt.Errorf("read the cluster's identity: %w", err)
	}
	var meta Meta
	if err := json.Unmarshal(pair.Value, &meta); err != nil {
		return fmt.Errorf("decode the cluster's identity: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if reflect.DeepEqual(meta, p.meta) {
		return nil
	}
	if p.meta.ID != "" && p.meta.ID != meta.ID {
		p.log.WithFields(map[string]any{"was": p.meta.ID, "is": meta.ID}).
			Warn("The store belongs to another cluster than before, or was wiped; this host's records are published anew.")
	}
	if err := p.put(ctx, stateMeta, meta); err != nil {
		return err
	}
	p.meta = meta
	return nil
}

// wanted gives this host's records by key, the host's own among them.
func (p *publisher) wanted(ctx context.Context) (map[string]string, error) {
	docs, err := p.Documents(ctx, 0)
	if err != nil {
		return nil, err
	}
	doc := peer{Host: p.Self(), Digests: map[string]string{}, Seq: docs.Seq}
	want := map[string]string{}
	for _, at := range docs.New {
		if at.Gone {
			continue
		}
		b, err := json.Marshal(at)
		if err != nil {
			return nil, fmt.Errorf("encode attachment: %w", err)
		}
		want[attachmentKey(at.Host, at.Network)] = string(b)
		doc.Digests[at.Network] = digest(b)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode host: %w", err)
	}
	want[hostDocKey(doc.Name)] = string(b)
	return want, nil
}

// attachmentLocked is what peers are told of this host's part in the network.
func (r *Registry) attachmentLocked(network string) overlay.Attachment {
	at := overlay.Attachment{Network: network, Host: r.self.Name, Incarnation: r.self.Incarnation}
	used := map[string]bool{}
	for _, e := range r.endpoints {
		if e.Network != network || e.Phase == overlay.Left || e.Phase == overlay.Lost {
			continue
		}
		at.Endpoints = append(at.Endpoints, overlay.PeerEndpoint{ID: e.ID, MAC: e.MAC, Addrs: e.Addrs, Name: e.Name, Names: e.Names})
		for _, a := range e.Addrs {
			used[a.String()] = true
		}
	}
	slices.SortFunc(at.Endpoints, func(a, b overlay.PeerEndpoint) int { return strings.Compare(a.ID, b.ID) })
	for _, s := range r.networks[network].Subnets {
		for _, a := range r.addresses.Stock(s.Prefix) {
			if !used[a.String()] {
				at.Stock = append(at.Stock, a)
			}
		}
	}
	slices.SortFunc(at.Stock, func(a, b netip.Addr) int { return a.Compare(b) })
	return at
}

// write sends what differs, the host's own record with its digests last.
func (p *publisher) write(ctx context.Context, want map[string]string) error {
	var ops []kvstore.Op
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if p.sent[key] != want[key] {
			ops = append(ops, kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(want[key])})
		}
	}
	for key := range p.sent {
		if _, wanted := want[key]; !wanted {
			ops = append(ops, deleteOp(key))
		}
	}
	slices.SortStableFunc(ops, func(a, b kvstore.Op) int { // at/… before host/… before deletions
		rank := func(o kvstore.Op) int {
			switch {
			case o.Kind == kvstore.Delete:
				return 2
			case strings.HasPrefix(o.Key, hostPrefix):
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	for len(ops) > 0 {
		n := min(len(ops), kvstore.MaxOps)
		began := time.Now()
		pairs, err := p.cluster.Txn(ctx, ops[:n]...)
		if err != nil {
			return fmt.Errorf("publish this host's records: %w", err)
		}
		p.wrote(pairs, began)
		ops = ops[n:]
	}
	p.sent = want
	p.mu.Lock()
	p.published = true
	p.mu.Unlock()
	return nil
}

// setContact notes how the store is doing, and logs when that changes.
func (r *Registry) setContact(err error) {
	r.mu.Lock()
	was := r.contact
	if (was.Err == nil) != (err == nil) {
		r.contact.Since = time.Now()
	}
	r.contact.Err = err
	r.mu.Unlock()
	switch {
	case err != nil && was.Err == nil:
		r.log.WithError(err).Warn("The store does not answer; what this host has goes on working, and it is asked again until it does.")
	case err == nil && was.Err != nil:
		r.log.Info("The store answers.")
	}
}
