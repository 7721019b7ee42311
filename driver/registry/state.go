package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// ErrDamaged is in Open's error for a state with a record that cannot be read.
// A new state is of more use.
var ErrDamaged = errors.New("damaged")

// load fills the maps from this host's state.
func (r *Registry) load(ctx context.Context, alone bool) error {
	pairs, _, err := r.state.List(ctx, "")
	if err != nil {
		return err
	}
	var self overlay.Host
	var seed []byte
	for _, p := range pairs {
		if err := r.loadOne(p, &self, &seed); err != nil {
			return fmt.Errorf("record %s is %w: %w", p.Key, ErrDamaged, err)
		}
	}
	r.self.Incarnation = self.Incarnation
	r.keyring.turnLocked(r.keyring.meta)
	forgets, changed := r.epochs.Loaded(alone)
	r.keyring.storeChanged = changed
	if r.self.Incarnation == "" {
		r.self.Incarnation, r.rebuild.lost = newID(), true
	}
	id := &r.place.id
	id.Name, id.Incarnation = r.self.Name, r.self.Incarnation
	ops, err := r.direct.beginSigning(seed)
	if err != nil {
		return err
	}
	me, err := record.Put(record.StateSelf, r.self)
	if err != nil {
		return err
	}
	bound, err := record.Put(record.StateBond, id.bond())
	if err != nil {
		return err
	}
	ops = append(ops, me, bound)
	if forgets {
		now, err := record.Put(record.StateEpoch, r.epochs.State)
		if err != nil {
			return err
		}
		ops = append(ops, now, record.Delete(record.StateSeen))
	}
	if r.rebuild.lost {
		mark, err := record.Put(record.StateRebuild, r.rebuild.mark())
		if err != nil {
			return err
		}
		ops = append(ops, mark)
	}
	if err := r.commit(ctx, ops...); err != nil {
		return err
	}
	return r.documents.beginSequence(ctx)
}

func (r *Registry) loadOne(p kvstore.Pair, self *overlay.Host, seed *[]byte) error {
	decode := func(v any) error { return json.Unmarshal(p.Value, v) }
	if mine, err := r.networks.Load(p.Key, decode); mine || err != nil {
		return err
	}
	switch {
	case p.Key == record.StateSelf:
		return decode(self)
	case p.Key == record.StateSign:
		return decode(seed)
	case p.Key == record.StateRebuild:
		return r.rebuild.load(p.Value)
	case p.Key == record.StateMeta:
		return decode(&r.keyring.meta)
	case p.Key == record.StateYield:
		r.claims.yields.Store(true)
		return nil
	case p.Key == record.StateEpoch:
		return decode(&r.epochs.State)
	case p.Key == record.StateSeen:
		return r.epochs.LoadSeen(decode)
	case strings.HasPrefix(p.Key, record.StateEndpoint):
		var e overlay.Endpoint
		if err := decode(&e); err != nil {
			return err
		}
		r.endpoints.Put(e)
		return nil
	case strings.HasPrefix(p.Key, record.StateHost):
		var doc record.HostDoc
		if err := decode(&doc); err != nil {
			return err
		}
		r.peers.Load(p.Key[len(record.StateHost):], doc)
		return nil
	case strings.HasPrefix(p.Key, record.StateAttach):
		var at overlay.Attachment
		if err := decode(&at); err != nil {
			return err
		}
		r.peers.LoadDocument(peers.Document{Attachment: at, Digest: record.Digest(p.Value)})
		r.epochs.noteClashLocked(at)
	}
	return nil // another package's
}
