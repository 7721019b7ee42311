package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// applyNetworks takes the store's net/ records into the replica. Records that
// are absent change nothing: see the package comment.
func (r *Registry) applyNetworks(_ context.Context, pairs []kvstore.Pair) error {
	defer r.change()()
	read := record.ReadNetworks(pairs, r.networks, r.decoded)
	r.decoded = read.Decoded
	r.watchLossesLocked(record.NetPrefix, pairs, read.Unread)
	r.passOver(record.NetPrefix, append(read.Passed, r.epochPassedLocked()...)...)
	var ops []kvstore.Op
	changed := map[string]overlay.Network{}
	present, behind := map[string]bool{}, map[string]bool{}
	for key := range read.Unread { // what it says is not known, so what was known stays
		present[strings.TrimPrefix(key, record.NetPrefix)] = true
	}
	for _, n := range read.Networks {
		if !n.Deleted.IsZero() { // a tombstone's end is no loss, see tombstone.go
			r.epoch.SeeTombstone(record.NetworkKey(n.ID))
		}
		old, known := r.networks[n.ID]
		if known && record.Outdated(n, old) {
			behind[n.ID] = true
			continue
		}
		present[n.ID] = true
		if known && (reflect.DeepEqual(old, n) || equalJSON(old, n)) {
			r.networks[n.ID] = n // the very one, which is compared in no time
			continue
		}
		op, err := record.Put(record.StateNetwork+n.ID, n)
		if err != nil {
			return err
		}
		ops, changed[n.ID] = append(ops, op), n
	}
	absent := r.absentLocked(present)
	maps.Copy(absent, behind)
	if len(ops) == 0 && maps.Equal(absent, r.absent) {
		return nil
	}
	r.keepLocked(ops...)
	maps.Copy(r.networks, changed)
	r.absent = absent
	r.changedLocally() // a tombstone may be wrong: the publisher looks at it
	return nil
}

// epochPassedLocked is the epoch's record if it cannot be used.
func (r *Registry) epochPassedLocked() []skipped.Record {
	if cannot, bad := skipped.Of(record.EpochKey, r.epoch.Unread()); bad {
		return []skipped.Record{cannot}
	}
	return nil
}

// absentLocked gives the networks that this host's Docker has and the store
// has lost.
func (r *Registry) absentLocked(present map[string]bool) map[string]bool {
	absent := map[string]bool{}
	for _, at := range r.docker {
		if n, ok := r.networks[at.Network]; ok && n.Deleted.IsZero() && !present[n.ID] {
			absent[n.ID] = true
		}
	}
	return absent
}

func equalJSON(a, b overlay.Network) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// applyHosts takes the store's host/ records into the replica, after fetching
// the attachments whose digests are news.
func (r *Registry) applyHosts(ctx context.Context, pairs []kvstore.Pair) error {
	read := record.ReadHosts(pairs)
	updates := read.Updates
	r.watchLosses(record.HostPrefix, pairs, read.Unread)
	r.passOver(record.HostPrefix, append(read.Passed, r.ownAddress(updates)...)...)
	r.checkOwn(pairs)
	r.checkOwner(pairs)
	r.saw(pairs)
	delete(updates, r.Self().Name)
	fetched, err := r.fetchAttachments(ctx, updates)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.updateHostsLocked(updates, fetched); err != nil {
		return err
	}
	r.settleLocked(time.Now())
	r.any.send()
	return nil
}

// updateHostsLocked takes over what the store says of the other hosts.
func (r *Registry) updateHostsLocked(updates map[string]record.HostUpdate, fetched []peers.Document) error {
	done, err := r.peers.Update(peers.Update{Hosts: updates, Documents: fetched, First: !r.rebuild.hosts}, time.Now())
	if err != nil {
		return err
	}
	for _, name := range done.Here {
		delete(r.rotation.gone, name)
	}
	for name, newest := range done.Left {
		r.rotation.gone[name] = newest
		r.passOver(fromHost + name)
	}
	for _, name := range done.Asked {
		r.saidToProbe(name)
	}
	for _, at := range done.News {
		r.noteClashLocked(at)
	}
	r.keepLocked(done.Ops...)
	return nil
}

// checkOwn sees to it that a store that has lost this host's record, after it
// was published, or has an earlier one or one that cannot be used, is looked through
// and told everything again: it was wiped, restored from a snapshot, or spoilt.
func (r *Registry) checkOwn(pairs []kvstore.Pair) {
	r.mu.Lock()
	i := r.ownRecordLocked(pairs)
	lost := i < 0 && r.published || i >= 0 && (pairs[i].Revision < r.lag.seen || spoilt(pairs[i]) && r.published)
	r.mu.Unlock()
	if lost {
		r.republishAll()
	}
}

// spoilt says whether this host's record is not what any weft writes.
func spoilt(own kvstore.Pair) bool {
	_, err := format.Decode[record.HostDoc](own.Value)
	return err != nil
}

// ownAddress gives the records of hosts that claim to be at this host's underlay
// address. They are known, but nothing is sent to them.
func (r *Registry) ownAddress(updates map[string]record.HostUpdate) []skipped.Record {
	self := r.Self()
	var out []skipped.Record
	for name, u := range updates {
		if name != self.Name && u.Doc.VTEP == self.VTEP && self.VTEP.IsValid() && !u.Doc.Left && !u.Unread {
			out = append(out, skipped.Record{
				Key: record.HostKey(name), Kind: format.Senseless, Cure: record.OwnersCure,
				Why: fmt.Sprintf("has the underlay address of this host, %v, so nothing is sent to that host", self.VTEP),
			})
		}
	}
	slices.SortFunc(out, func(a, b skipped.Record) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// fetchAttachments reads what the hosts' digests say is new. What cannot be used is
// passed over: what was known before stays.
func (r *Registry) fetchAttachments(ctx context.Context, updates map[string]record.HostUpdate) ([]peers.Document, error) {
	var out []peers.Document
	var all []skipped.Record
	for name, u := range updates {
		for _, network := range r.newDigests(u.Doc) {
			p, err := r.cluster.Get(ctx, record.AttachmentKey(name, network))
			if errors.Is(err, kvstore.ErrNotFound) {
				continue // taken back since; its host's record will say so
			}
			if err != nil {
				return nil, fmt.Errorf("read what host %s has in network %s: %w", name, network, err)
			}
			at, err := record.DecodeAttachment(name, network, p.Value)
			if passed, bad := skipped.Of(p.Key, err); bad {
				passed.Cure = cmp.Or(passed.Cure, record.OwnersCure)
				all = append(all, passed)
				continue
			}
			out = append(out, peers.Document{Attachment: at, Digest: record.Digest(p.Value)})
		}
	}
	r.passOver(record.AttachPrefix, all...)
	return out, nil
}

// newDigests are the networks of which the host has another document than is known.
func (r *Registry) newDigests(doc record.HostDoc) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.peers.Outrun(doc) {
		return nil
	}
	var out []string
	for network, want := range doc.Digests {
		if r.peers.Digest(doc.Name, network) != want {
			out = append(out, network)
		}
	}
	return out
}
