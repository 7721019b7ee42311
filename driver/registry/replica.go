package registry

import (
	"context"
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
	reads     chan struct{} // the hosts' records were taken over: see reader
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

// applyHosts takes the store's host/ records into the replica, and has reader read the
// documents that are news in them.
func (f follower) applyHosts(_ context.Context, pairs []kvstore.Pair) error {
	read := record.ReadHosts(pairs)
	updates := read.Updates
	f.watchLosses(record.HostPrefix, pairs, read.Unread)
	f.passOver(record.HostPrefix, append(read.Passed, f.ownAddress(updates)...)...)
	f.checkOwn(pairs)
	f.checkOwner(pairs)
	f.published.saw(pairs)
	delete(updates, f.Self().Name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.updateHostsLocked(updates); err != nil {
		return err
	}
	f.epochs.settleLocked(time.Now())
	f.any.send()
	wakeUp(f.reads)
	return nil
}

// updateHostsLocked takes over what the store says of the other hosts.
func (f follower) updateHostsLocked(updates map[string]record.HostUpdate) error {
	done, err := f.peers.Update(updates, time.Now())
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
