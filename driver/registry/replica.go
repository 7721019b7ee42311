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
			delete(r.era.seen, record.NetworkKey(n.ID))
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
	if cannot, bad := skipped.Of(record.EpochKey, r.era.unread); bad {
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
	r.doubtOwner(pairs)
	r.saw(pairs)
	delete(updates, r.Self().Name)
	fetched, err := r.fetchAttachments(ctx, updates)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ops, err := r.updateHostsLocked(updates, fetched)
	if err != nil {
		return err
	}
	r.settleLocked(time.Now())
	r.keepLocked(ops...)
	r.any.send()
	return nil
}

// checkOwn sees to it that a store that has lost this host's record, after it
// was published, or has an earlier one or one that cannot be used, is looked through
// and told everything again: it was wiped, restored from a snapshot, or spoilt.
func (r *Registry) checkOwn(pairs []kvstore.Pair) {
	r.mu.Lock()
	i := r.ownRecordLocked(pairs)
	lost := i < 0 && r.published || i >= 0 && (pairs[i].Revision < r.echo.seen || spoilt(pairs[i]) && r.published)
	r.mu.Unlock()
	if lost {
		r.relapse()
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
func (r *Registry) fetchAttachments(ctx context.Context, updates map[string]record.HostUpdate) ([]document, error) {
	var out []document
	var all []skipped.Record
	for name, u := range updates {
		if r.outrun(u.Doc) {
			continue
		}
		for network, want := range u.Doc.Digests {
			if r.peerDigest(name, network) == want {
				continue
			}
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
			out = append(out, document{Attachment: at, digest: record.Digest(p.Value)})
		}
	}
	r.passOver(record.AttachPrefix, all...)
	return out, nil
}

func (r *Registry) peerDigest(host, network string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.peers[host][network].digest
}

// updateHostsLocked changes the maps and gives the writes that make it durable.
func (r *Registry) updateHostsLocked(updates map[string]record.HostUpdate, fetched []document) ([]kvstore.Op, error) {
	var ops []kvstore.Op
	set := func(key string, v any) error {
		op, err := record.Put(key, v)
		ops = append(ops, op)
		return err
	}
	now := time.Now()
	for name, u := range updates {
		old, known := r.hosts[name]
		doc := peer{HostDoc: u.Doc}
		if u.Unread {
			if !known {
				continue
			}
			doc = old // but for what its lease says
		}
		if doc.Left {
			r.left[name] = true
			r.rotation.gone[name] = doc.Keys
			ops = append(ops, r.dropHostLocked(name)...)
			continue
		}
		delete(r.rotation.gone, name)
		doc.live, doc.lease, doc.since, doc.down = u.Live, u.Lease, old.since, old.down && !u.Live
		doc.dead = u.Marked
		doc.rests = old.rests && !u.Live && doc.Rests
		doc.vacant = r.vacantLocked(doc.HostDoc)
		if doc.veto, doc.unheard = u.Veto, old.unheard; !known || old.veto != u.Veto {
			doc.unheard = now
		}
		if doc.returning = (r.left[name] || u.Marked) && !u.Live; doc.returning {
			r.left[name], doc.down = true, true
		} else {
			delete(r.left, name)
		}
		// A weft that says that it rests no more has all the time to get its lease.
		if !known || old.live != u.Live || old.lease != u.Lease || old.Rests && !doc.Rests {
			doc.since = now
		}
		probe := doc.Probe
		if doc.Probe = 0; old.Incarnation == doc.Incarnation {
			doc.Probe = old.Probe
		}
		r.askedLocked(&doc, probe, old.Incarnation != doc.Incarnation || !r.rebuild.hosts)
		if !known || old.Host != doc.Host || old.Runs != doc.Runs {
			if err := set(record.StateHost+name, doc.HostDoc); err != nil {
				return nil, err
			}
		}
		r.hosts[name] = doc
		for network := range r.peers[name] {
			if u.Unread {
				break
			}
			if _, still := doc.Digests[network]; !still && !r.outrunLocked(doc.HostDoc, network) {
				delete(r.peers[name], network)
				ops = append(ops, record.Delete(record.StateAttach+name+"/"+network))
			}
		}
	}
	for name, p := range r.hosts {
		if _, still := updates[name]; !still && (p.live || p.lease != 0 || p.veto != record.Veto{}) {
			p.live, p.lease, p.since = false, 0, now // absence of the record says no more than that
			p.veto, p.unheard = record.Veto{}, now
			r.hosts[name] = p
		}
	}
	for _, rec := range fetched {
		if r.staleLocked(rec) {
			continue
		}
		r.setPeerLocked(rec)
		if err := set(record.StateAttach+rec.Host+"/"+rec.Network, rec.Attachment); err != nil {
			return nil, err
		}
	}
	for _, u := range updates {
		r.followedLocked(u.Doc)
	}
	return ops, nil
}

// dropHostLocked forgets a host that has left.
func (r *Registry) dropHostLocked(name string) []kvstore.Op {
	var ops []kvstore.Op
	for network := range r.peers[name] {
		ops = append(ops, record.Delete(record.StateAttach+name+"/"+network))
	}
	if _, known := r.hosts[name]; known {
		ops = append(ops, record.Delete(record.StateHost+name))
	}
	delete(r.peers, name)
	delete(r.hosts, name)
	delete(r.links, name)
	r.passOver(fromHost + name)
	return ops
}

func (r *Registry) setPeerLocked(rec document) {
	if r.peers[rec.Host] == nil {
		r.peers[rec.Host] = map[string]document{}
	}
	r.peers[rec.Host][rec.Network] = rec
	r.noteClashLocked(rec)
}
