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
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// applyNetworks takes the store's net/ records into the replica. Records that
// are absent change nothing: see the package comment.
func (r *Registry) applyNetworks(_ context.Context, pairs []kvstore.Pair) error {
	defer r.change()()
	read := readNetworks(pairs, r.networks, r.decoded)
	r.decoded = read.decoded
	r.watchLossesLocked(netPrefix, pairs, read.unread)
	r.passOver(netPrefix, append(read.passed, r.epochPassedLocked()...)...)
	var ops []kvstore.Op
	changed := map[string]overlay.Network{}
	present, behind := map[string]bool{}, map[string]bool{}
	for key := range read.unread { // what it says is not known, so what was known stays
		present[strings.TrimPrefix(key, netPrefix)] = true
	}
	for _, n := range read.networks {
		if !n.Deleted.IsZero() { // a tombstone's end is no loss, see tombstone.go
			delete(r.era.seen, networkKey(n.ID))
		}
		old, known := r.networks[n.ID]
		if known && outdated(n, old) {
			behind[n.ID] = true
			continue
		}
		present[n.ID] = true
		if known && (reflect.DeepEqual(old, n) || equalJSON(old, n)) {
			r.networks[n.ID] = n // the very one, which is compared in no time
			continue
		}
		op, err := setOp(stateNetwork+n.ID, n)
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
	if record, bad := skipped.Of(netEpoch, r.era.unread); bad {
		return []skipped.Record{record}
	}
	return nil
}

// outdated says whether a network's record is of before another one: a store
// that was restored from a snapshot has it.
func outdated(n, than overlay.Network) bool {
	if n.Rebuilt != than.Rebuilt {
		return n.Rebuilt // somebody has had the first one all the time
	}
	return n.Created.Before(than.Created) || n.Created.Equal(than.Created) && n.Version < than.Version
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

// hostUpdate is what one host/ record says.
type hostUpdate struct {
	doc    peer
	unread bool // doc is there and cannot be used: what was known of the host stays
	live   bool
	lease  uint64 // revision of the live key
	marked bool   // the host was declared dead
	veto   veto
}

// hostRecords is what the records under host/ say.
type hostRecords struct {
	updates map[string]hostUpdate // by host
	passed  []skipped.Record      // what cannot be used
	unread  map[string]bool       // keys of passed
}

// readHosts groups the store's host/ records by host.
func readHosts(pairs []kvstore.Pair) hostRecords {
	out := hostRecords{updates: map[string]hostUpdate{}, unread: map[string]bool{}}
	pass := func(key string, err error) {
		r, _ := skipped.Of(key, err)
		if r.Cure == "" && strings.HasSuffix(key, "/doc") {
			r.Cure = ownersCure
		}
		out.passed, out.unread[key] = append(out.passed, r), true
	}
	for _, p := range pairs {
		name, leaf, ok := parseHostKey(p.Key)
		if !ok {
			pass(p.Key, format.Faultf(format.Unknown, "stands under a key that weft does not know"))
			continue
		}
		u := out.updates[name]
		switch leaf {
		case "doc":
			doc, err := format.Decode[peer](p.Value)
			if err == nil {
				err = checkHost(name, doc)
			}
			if err != nil {
				pass(p.Key, err)
				u.unread = true
				break
			}
			u.doc = doc
		case "live":
			u.live, u.lease = p.Held, p.Revision
		case "dead":
			u.marked = true
		case "heard":
			u.veto = readVeto(p)
		case "owner":
			if err := checkOwner(p.Value); err != nil {
				pass(p.Key, err)
			}
		}
		out.updates[name] = u
	}
	maps.DeleteFunc(out.updates, func(_ string, u hostUpdate) bool { return u.doc.Name == "" && !u.unread })
	return out
}

// ownersCure is what to do about a record that a host goes on writing.
const ownersCure = "if that host runs, update weft on it or correct its settings (--advertise, --mtu); else delete the record"

// applyHosts takes the store's host/ records into the replica, after fetching
// the attachments whose digests are news.
func (r *Registry) applyHosts(ctx context.Context, pairs []kvstore.Pair) error {
	read := readHosts(pairs)
	updates := read.updates
	r.watchLosses(hostPrefix, pairs, read.unread)
	r.passOver(hostPrefix, append(read.passed, r.ownAddress(updates)...)...)
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
	_, err := format.Decode[peer](own.Value)
	return err != nil
}

// ownAddress gives the records of hosts that claim to be at this host's underlay
// address. They are known, but nothing is sent to them.
func (r *Registry) ownAddress(updates map[string]hostUpdate) []skipped.Record {
	self := r.Self()
	var out []skipped.Record
	for name, u := range updates {
		if name != self.Name && u.doc.VTEP == self.VTEP && self.VTEP.IsValid() && !u.doc.Left && !u.unread {
			out = append(out, skipped.Record{
				Key: hostDocKey(name), Kind: format.Senseless, Cure: ownersCure,
				Why: fmt.Sprintf("has the underlay address of this host, %v, so nothing is sent to that host", self.VTEP),
			})
		}
	}
	slices.SortFunc(out, func(a, b skipped.Record) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// fetchAttachments reads what the hosts' digests say is new. What cannot be used is
// passed over: what was known before stays.
func (r *Registry) fetchAttachments(ctx context.Context, updates map[string]hostUpdate) ([]record, error) {
	var out []record
	var all []skipped.Record
	for name, u := range updates {
		if r.outrun(u.doc) {
			continue
		}
		for network, want := range u.doc.Digests {
			if r.peerDigest(name, network) == want {
				continue
			}
			p, err := r.cluster.Get(ctx, attachmentKey(name, network))
			if errors.Is(err, kvstore.ErrNotFound) {
				continue // taken back since; its host's record will say so
			}
			if err != nil {
				return nil, fmt.Errorf("read what host %s has in network %s: %w", name, network, err)
			}
			at, err := decodeAttachment(name, network, p.Value)
			if passed, bad := skipped.Of(p.Key, err); bad {
				passed.Cure = cmp.Or(passed.Cure, ownersCure)
				all = append(all, passed)
				continue
			}
			out = append(out, record{Attachment: at, digest: digest(p.Value)})
		}
	}
	r.passOver(attachPrefix, all...)
	return out, nil
}

func (r *Registry) peerDigest(host, network string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.peers[host][network].digest
}

// updateHostsLocked changes the maps and gives the writes that make it durable.
func (r *Registry) updateHostsLocked(updates map[string]hostUpdate, fetched []record) ([]kvstore.Op, error) {
	var ops []kvstore.Op
	set := func(key string, v any) error {
		op, err := setOp(key, v)
		ops = append(ops, op)
		return err
	}
	now := time.Now()
	for name, u := range updates {
		old, known := r.hosts[name]
		doc := u.doc
		if u.unread {
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
		doc.live, doc.lease, doc.since, doc.down = u.live, u.lease, old.since, old.down && !u.live
		doc.dead = u.marked
		doc.rests = old.rests && !u.live && doc.Rests
		doc.vacant = r.vacantLocked(doc)
		if doc.veto, doc.unheard = u.veto, old.unheard; !known || old.veto != u.veto {
			doc.unheard = now
		}
		if doc.returning = (r.left[name] || u.marked) && !u.live; doc.returning {
			r.left[name], doc.down = true, true
		} else {
			delete(r.left, name)
		}
		// A weft that says that it rests no more has all the time to get its lease.
		if !known || old.live != u.live || old.lease != u.lease || old.Rests && !doc.Rests {
			doc.since = now
		}
		probe := doc.Probe
		if doc.Probe = 0; old.Incarnation == doc.Incarnation {
			doc.Probe = old.Probe
		}
		r.askedLocked(&doc, probe, old.Incarnation != doc.Incarnation || !r.rebuild.hosts)
		if !known || old.Host != doc.Host || old.Runs != doc.Runs {
			if err := set(stateHost+name, doc); err != nil {
				return nil, err
			}
		}
		r.hosts[name] = doc
		for network := range r.peers[name] {
			if u.unread {
				break
			}
			if _, still := doc.Digests[network]; !still && !r.outrunLocked(doc, network) {
				delete(r.peers[name], network)
				ops = append(ops, deleteOp(stateAttach+name+"/"+network))
			}
		}
	}
	for name, p := range r.hosts {
		if _, still := updates[name]; !still && (p.live || p.lease != 0 || p.veto != veto{}) {
			p.live, p.lease, p.since = false, 0, now // absence of the record says no more than that
			p.veto, p.unheard = veto{}, now
			r.hosts[name] = p
		}
	}
	for _, rec := range fetched {
		if r.staleLocked(rec) {
			continue
		}
		r.setPeerLocked(rec)
		if err := set(stateAttach+rec.Host+"/"+rec.Network, rec.Attachment); err != nil {
			return nil, err
		}
	}
	for _, u := range updates {
		r.followedLocked(u.doc)
	}
	return ops, nil
}

// dropHostLocked forgets a host that has left.
func (r *Registry) dropHostLocked(name string) []kvstore.Op {
	var ops []kvstore.Op
	for network := range r.peers[name] {
		ops = append(ops, deleteOp(stateAttach+name+"/"+network))
	}
	if _, known := r.hosts[name]; known {
		ops = append(ops, deleteOp(stateHost+name))
	}
	delete(r.peers, name)
	delete(r.hosts, name)
	delete(r.links, name)
	r.passOver(fromHost + name)
	return ops
}

func (r *Registry) setPeerLocked(rec record) {
	if r.peers[rec.Host] == nil {
		r.peers[rec.Host] = map[string]record{}
	}
	r.peers[rec.Host][rec.Network] = rec
	r.noteClashLocked(rec)
}
