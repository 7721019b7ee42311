package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// # What comes from other hosts directly
//
// A document that a host pushes is the same that it publishes, and replaces
// what is here if its number is higher; so loss, repetition and order do not
// matter, nor by which way it came. Of each host is known up to which number
// everything has come: documents up to there that turn up again, from a store
// that lags, are old. Which hosts there are, and in which incarnation, only the
// store says.

// link is what is known of a host from its own mouth. It starts empty with each
// process and each incarnation.
type link struct {
	incarnation string
	synced      uint64            // every document up to here has come, or a newer one
	announced   uint64            // the highest number that was heard of
	gone        map[string]uint64 // withdrawals above synced, by network id
	spoken      map[uint64]spoken // by the number of the process, see hearing.go
	heard       time.Time         // zero: not yet, or the host said that it rests
	quiet       int               // silence's ticks since heard
	storeOK     bool
	storeSince  time.Time
	away        bool   // the host said that its machine shuts down
	lease       uint64 // the revision of its lease then
	key         string // id of the newest key by which it has sealed something
}

// Beat is one sign of life of another host.
type Beat struct {
	Host        string
	Incarnation string
	Number      uint64 // of the message; grows within an incarnation, see hearing.go
	Seq         uint64 // the highest of the host's attachments
	StoreOK     bool   // the store answers the host
	StoreFor    time.Duration
	Probe       uint64 // as in overlay.Host
	Rests       bool   // the host's weft ends in order: silence says nothing now
	Away        bool   // the host's machine shuts down
	Key         string // id of the key by which it was sealed, see driver/keys
}

// LocalChanges is Changes for this host's own records.
func (r *Registry) LocalChanges() (changes <-chan struct{}, stop func()) { return r.local.subscribe() }

// PushPeers are the other hosts that hear direct messages, sorted by name.
func (r *Registry) PushPeers() []overlay.Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]overlay.Host, 0, len(r.hosts))
	for _, p := range r.hosts {
		if p.hears() {
			out = append(out, r.receiverLocked(p))
		}
	}
	slices.SortFunc(out, func(a, b overlay.Host) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// PushPeer is the other host if it hears direct messages and may send them.
func (r *Registry) PushPeer(host string) (overlay.Host, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p, known := r.hosts[host]
	return r.receiverLocked(p), known && p.hears()
}

// hears says whether the host has a part in direct messages. One that was declared
// dead, or leaves, has none from the mark on.
func (p peer) hears() bool { return p.Push.IsValid() && !p.dead }

// linkLocked gives the host's link, or nil if this is not how the store knows it.
func (r *Registry) linkLocked(host, incarnation string) *link {
	if p, known := r.hosts[host]; !known || p.Incarnation != incarnation {
		return nil
	}
	l := r.links[host]
	if l == nil || l.incarnation != incarnation {
		l = &link{incarnation: incarnation, gone: map[string]uint64{}, spoken: map[uint64]spoken{}}
		r.links[host] = l
	}
	return l
}

// Heard takes a sign of life. What is no news, or of an unknown host, changes
// nothing and gives false.
func (r *Registry) Heard(b Beat) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.linkLocked(b.Host, b.Incarnation)
	p, now := r.hosts[b.Host], time.Now()
	if l == nil || !l.fresh(b.Number, p.Runs, now) {
		return false
	}
	if r.silentLocked(b.Host) {
		defer r.any.send()
		r.log.WithField("host", b.Host).Info("A silent host is heard again.")
	}
	p.rests = p.rests && b.Rests
	if mayAsk(b.Number, b.Probe) && r.askedLocked(&p, b.Probe, len(l.spoken) == 0) {
		defer r.any.send()
	}
	p.vacant = 0
	r.hosts[b.Host] = p
	l.note(b.Number, p.Runs, now)
	l.heard, l.quiet = now, 0
	l.heardBy(r.meta.Ring(), b.Key)
	if credible(p.HostDoc, b.Seq) {
		l.announced = max(l.announced, b.Seq)
	}
	l.storeOK, l.storeSince = b.StoreOK, now.Add(-b.StoreFor)
	if b.Rests {
		l.heard = time.Time{}
	}
	if l.away != b.Away {
		l.away, l.lease = b.Away, r.hosts[b.Host].lease
		r.any.send()
	}
	return true
}

// Missing says whether the host has announced more than has come from it, and
// up to which number all has come.
func (r *Registry) Missing(host string) (since uint64, missing bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	l := r.links[host]
	if p, known := r.hosts[host]; !known || l == nil || l.incarnation != p.Incarnation {
		return 0, false
	}
	return l.synced, l.announced > l.synced
}

// Receive takes one document that its host has pushed. The number before it,
// after, tells whether one is missing between. It fails with an ErrUnknown for
// a host, or an incarnation, that the store has not told of.
func (r *Registry) Receive(_ context.Context, at overlay.Attachment, after uint64) error {
	rec, err := newDocument(at)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.linkLocked(at.Host, at.Incarnation)
	if l == nil {
		return fmt.Errorf("host %q in incarnation %q is %w", at.Host, at.Incarnation, ErrUnknown)
	}
	if !credible(r.hosts[at.Host].HostDoc, at.Seq) {
		return fmt.Errorf("the document of host %q has the number %d, far above %d, which its record says", at.Host, at.Seq, r.hosts[at.Host].Seq)
	}
	l.announced = max(l.announced, at.Seq)
	if r.takeLocked(l, rec) {
		r.any.send()
	}
	if l.synced >= after {
		l.reach(at.Seq)
	}
	return nil
}

// PeerAttachment is what is known of another host's part in the network.
func (r *Registry) PeerAttachment(host, network string) (overlay.Attachment, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec, ok := r.peers[host][network]
	return rec.Attachment, ok
}

// fromHost and a name is the scope of what that host has told itself.
const fromHost = "from "

// Catch takes a host's answer to the question for its documents.
func (r *Registry) Catch(_ context.Context, docs Documents) error {
	records := make([]document, 0, len(docs.New))
	var passed []skipped.Record
	for _, at := range docs.New {
		if at.Host != docs.Host || at.Incarnation != docs.Incarnation || at.Seq > docs.Seq {
			return fmt.Errorf("host %q answered with document %d of host %q, and has %d", docs.Host, at.Seq, at.Host, docs.Seq)
		}
		rec, err := newDocument(at)
		if cannot, bad := skipped.Of(record.AttachmentKey(at.Host, at.Network), err); bad {
			passed = append(passed, cannot)
			continue // what was known stays
		}
		if err != nil {
			return err
		}
		records = append(records, rec)
	}
	if docs.Unread > 0 {
		passed = append(passed, skipped.Record{
			Key: record.AttachmentKey(docs.Host, ""), Kind: format.Unreadable, Cure: "update weft on all hosts to one version",
			Why: fmt.Sprintf("has %d documents, told by the host itself, that this host cannot use", docs.Unread),
		})
	}
	r.passOver(fromHost+docs.Host, passed...)
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.linkLocked(docs.Host, docs.Incarnation)
	if l == nil {
		return fmt.Errorf("host %q in incarnation %q is %w", docs.Host, docs.Incarnation, ErrUnknown)
	}
	if !credible(r.hosts[docs.Host].HostDoc, docs.Seq) {
		return fmt.Errorf("the newest document of host %q has the number %d, far above %d, which its record says", docs.Host, docs.Seq, r.hosts[docs.Host].Seq)
	}
	changed := false
	for _, rec := range records {
		changed = r.takeLocked(l, rec) || changed
	}
	for network, rec := range r.peers[docs.Host] {
		_, still := slices.BinarySearch(docs.Networks, network)
		if !still && (rec.Incarnation != docs.Incarnation || rec.Seq <= docs.Seq) {
			delete(r.peers[docs.Host], network)
			r.dirtyLocked(docs.Host, network)
			changed = true
		}
	}
	l.announced = max(l.announced, docs.Seq)
	l.reach(docs.Seq)
	if changed {
		r.any.send()
	}
	return nil
}

// newDocument gives the document its fingerprint, the same as the store's.
func newDocument(at overlay.Attachment) (document, error) {
	if at.Seq == 0 {
		return document{}, fmt.Errorf("document of host %q for network %q has no number", at.Host, at.Network)
	}
	if err := record.CheckAttachment(at.Host, at.Network, at); err != nil {
		return document{}, fmt.Errorf("document of host %.60q for network %.60q %w", at.Host, at.Network, err)
	}
	b, err := json.Marshal(at)
	if err != nil {
		return document{}, fmt.Errorf("encode attachment: %w", err)
	}
	return document{Attachment: at, digest: record.Digest(b)}, nil
}

// takeLocked takes a pushed document if it is news.
func (r *Registry) takeLocked(l *link, rec document) bool {
	old, has := r.peers[rec.Host][rec.Network]
	if rec.Seq <= l.synced || rec.Seq <= l.gone[rec.Network] {
		return false
	}
	if has && r.aheadLocked(old, rec.Incarnation, rec.Seq-1) {
		return false
	}
	r.dirtyLocked(rec.Host, rec.Network)
	if rec.Gone {
		delete(r.peers[rec.Host], rec.Network)
		l.gone[rec.Network] = rec.Seq
		return has
	}
	delete(l.gone, rec.Network)
	r.setPeerLocked(rec)
	return true
}

// reach says that everything up to seq has come.
func (l *link) reach(seq uint64) {
	l.synced = max(l.synced, seq)
	maps.DeleteFunc(l.gone, func(_ string, gone uint64) bool { return gone <= l.synced })
}

// aheadLocked says whether what is here has a higher number than seq in the
// incarnation, and one that its host can have given out.
func (r *Registry) aheadLocked(old document, incarnation string, seq uint64) bool {
	return old.Incarnation == incarnation && old.Seq > seq && credible(r.hosts[old.Host].HostDoc, old.Seq)
}

// staleLocked says whether a document from the store is older than what came
// from its host.
func (r *Registry) staleLocked(rec document) bool {
	old, has := r.peers[rec.Host][rec.Network]
	if has {
		return r.aheadLocked(old, rec.Incarnation, rec.Seq)
	}
	l := r.links[rec.Host]
	return l != nil && l.incarnation == rec.Incarnation && rec.Seq <= max(l.synced, l.gone[rec.Network])
}

// outrunLocked says whether what is here of the host's part in the network is
// newer than the host's record in the store.
func (r *Registry) outrunLocked(doc record.HostDoc, network string) bool {
	if rec, has := r.peers[doc.Name][network]; has {
		return rec.Incarnation == doc.Incarnation && rec.Seq > doc.Seq && credible(doc, rec.Seq)
	}
	l := r.links[doc.Name]
	return l != nil && l.incarnation == doc.Incarnation && l.gone[network] > doc.Seq
}

// outrun says whether the host's record in the store has nothing new.
func (r *Registry) outrun(doc record.HostDoc) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	l := r.links[doc.Name]
	return l != nil && l.incarnation == doc.Incarnation && doc.Seq != 0 && doc.Seq <= l.synced
}

// followedLocked notes that the store's record of a host has been taken over,
// if nothing was missing.
func (r *Registry) followedLocked(doc record.HostDoc) {
	l := r.linkLocked(doc.Name, doc.Incarnation)
	if l == nil || doc.Seq <= l.synced {
		return
	}
	for network, want := range doc.Digests {
		if r.peers[doc.Name][network].digest != want && !r.outrunLocked(doc, network) {
			return
		}
	}
	l.announced = max(l.announced, doc.Seq)
	l.reach(doc.Seq)
}

// flushAfter is how long pushed documents wait for more before they are
// written to this host's state: what a crash loses is asked for again.
const flushAfter = 100 * time.Millisecond

func (r *Registry) dirtyLocked(host, network string) {
	r.dirty[record.StateAttach+host+"/"+network] = [2]string{host, network}
	wakeUp(r.flushes)
}

// runFlusher makes other hosts' records durable until ctx ends. What could not be
// written is tried again.
func (r *Registry) runFlusher(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.flushes:
		case <-ticker.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(flushAfter):
		}
		if err := r.flush(ctx); err != nil && ctx.Err() == nil {
			r.log.WithError(err).Warn("What other hosts told could not be kept for the next start.")
		}
	}
}

func (r *Registry) flush(ctx context.Context) error {
	if err := r.keepPushed(); err != nil {
		return err
	}
	r.save(ctx)
	return nil
}

// keepPushed puts what was pushed to what is to be saved.
func (r *Registry) keepPushed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ops []kvstore.Op
	for key, of := range r.dirty {
		rec, has := r.peers[of[0]][of[1]]
		if !has {
			ops = append(ops, record.Delete(key))
			continue
		}
		op, err := record.Put(key, rec.Attachment)
		if err != nil {
			return err
		}
		ops = append(ops, op)
	}
	r.keepLocked(ops...)
	clear(r.dirty)
	return nil
}
