package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// follower takes what the store shows into this host's replica.
type follower struct {
	*directory
	epochs    *epochs
	published *publication
	place     *place
	contact   *contact
	keyring   *Keyring
	peers     *peers.Peers
	rebuild   *rebuild
	observe   Observer
}

// applyNetworks takes the store's net/ records into the replica. Records that
// are absent change nothing: see the package comment.
func (f follower) applyNetworks(_ context.Context, pairs []kvstore.Pair) error {
	defer f.change()()
	seen, err := f.networks.See(pairs)
	if err != nil {
		return err
	}
	f.watchLossesLocked(record.NetPrefix, pairs, seen.Unread)
	f.passOver(record.NetPrefix, append(seen.Passed, f.epochPassedLocked()...)...)
	for _, key := range seen.Tombstones { // a tombstone's end is no loss, see tombstone.go
		f.epochs.SeeTombstone(key)
	}
	if !seen.Changed {
		return nil
	}
	f.keepLocked(seen.Ops...)
	f.changedLocally() // a tombstone may be wrong: the publisher looks at it
	return nil
}

// epochPassedLocked is the epoch's record if it cannot be used.
func (f follower) epochPassedLocked() []skipped.Record {
	if cannot, bad := skipped.Of(record.EpochKey, f.epochs.Unread()); bad {
		return []skipped.Record{cannot}
	}
	return nil
}

// applyHosts takes the store's host/ records into the replica, after fetching
// the attachments whose digests are news.
func (f follower) applyHosts(ctx context.Context, pairs []kvstore.Pair) error {
	read := record.ReadHosts(pairs)
	updates := read.Updates
	f.watchLosses(record.HostPrefix, pairs, read.Unread)
	f.passOver(record.HostPrefix, append(read.Passed, f.ownAddress(updates)...)...)
	f.checkOwn(pairs)
	f.checkOwner(pairs)
	f.published.saw(pairs)
	delete(updates, f.Self().Name)
	fetched, err := f.fetchAttachments(ctx, updates)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.updateHostsLocked(updates, fetched); err != nil {
		return err
	}
	f.epochs.settleLocked(time.Now())
	f.any.send()
	return nil
}

// updateHostsLocked takes over what the store says of the other hosts.
func (f follower) updateHostsLocked(updates map[string]record.HostUpdate, fetched []peers.Document) error {
	done, err := f.peers.Update(peers.Update{Hosts: updates, Documents: fetched, First: !f.rebuild.hosts}, time.Now())
	if err != nil {
		return err
	}
	for _, name := range done.Here {
		delete(f.keyring.rotation.gone, name)
	}
	for name, newest := range done.Left {
		f.keyring.rotation.gone[name] = newest
		f.passOver(fromHost + name)
	}
	for _, name := range done.Asked {
		saidToProbe(f.log, name)
	}
	for _, at := range done.News {
		f.epochs.noteClashLocked(at)
	}
	f.keepLocked(done.Ops...)
	return nil
}

// checkOwn looks at this host's record. If it was published and is missing, or is an
// earlier one, or cannot be used, then the store was wiped, restored from a snapshot, or
// spoilt: it is looked through and told everything again.
func (f follower) checkOwn(pairs []kvstore.Pair) {
	f.mu.Lock()
	i := f.published.ownRecordLocked(pairs)
	lost := i < 0 && f.published.once || i >= 0 && (pairs[i].Revision < f.published.lag.seen || spoilt(pairs[i]) && f.published.once)
	f.mu.Unlock()
	if lost {
		f.published.republishAll()
	}
}

// spoilt says whether this host's record is none that weft writes.
func spoilt(own kvstore.Pair) bool {
	_, err := format.Decode[record.HostDoc](own.Value)
	return err != nil
}

// ownAddress gives the records of hosts that claim to be at this host's underlay
// address. They are known, but nothing is sent to them.
func (f follower) ownAddress(updates map[string]record.HostUpdate) []skipped.Record {
	self := f.Self()
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
func (f follower) fetchAttachments(ctx context.Context, updates map[string]record.HostUpdate) ([]peers.Document, error) {
	var out []peers.Document
	var all []skipped.Record
	for name, u := range updates {
		for _, network := range f.newDigests(u.Doc) {
			p, err := f.cluster.Get(ctx, record.AttachmentKey(name, network))
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
	f.passOver(record.AttachPrefix, all...)
	return out, nil
}

// newDigests are the networks of which the host has another document than is known.
func (f follower) newDigests(doc record.HostDoc) []string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.peers.Outrun(doc) {
		return nil
	}
	var out []string
	for network, want := range doc.Digests {
		if f.peers.Digest(doc.Name, network) != want {
			out = append(out, network)
		}
	}
	return out
}
