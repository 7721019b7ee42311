package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
)

// What comes from other hosts directly, and what they are told: the front of package
// peers. Package push has the wire.

// LocalChanges is Changes for this host's own records.
func (r *Registry) LocalChanges() (changes <-chan struct{}, stop func()) { return r.local.subscribe() }

// PushPeers are the other hosts that hear direct messages, sorted by name.
func (r *Registry) PushPeers() []overlay.Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.peers.Receivers(r.meta.Ring())
}

// PushPeer is the other host if it hears direct messages and may send them.
func (r *Registry) PushPeer(host string) (overlay.Host, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.peers.Receiver(host, r.meta.Ring())
}

// Heard takes a sign of life. What is no news, or of an unknown host, changes
// nothing and gives false.
func (r *Registry) Heard(b peers.Beat) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	heard := r.peers.Hear(b, r.meta.Ring(), time.Now())
	if heard.Again {
		r.log.WithField("host", b.Host).Info("A silent host is heard again.")
	}
	if heard.Asks {
		r.saidToProbe(b.Host)
	}
	if heard.Changed {
		r.any.send()
	}
	return heard.Counts
}

func (r *Registry) saidToProbe(host string) {
	r.log.WithField("host", host).Debug("A host asks to probe the paths between hosts.")
}

// Missing says whether the host has announced more than has come from it, and
// up to which number all has come.
func (r *Registry) Missing(host string) (since uint64, missing bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.peers.Missing(host)
}

// Receive takes one document that its host has pushed. The number before it,
// after, tells whether one is missing between. It fails with an ErrUnknown for
// a host, or an incarnation, that the store has not told of.
func (r *Registry) Receive(_ context.Context, at overlay.Attachment, after uint64) error {
	doc, err := peers.NewDocument(at)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.peers.Knows(at.Host, at.Incarnation) {
		return fmt.Errorf("host %q in incarnation %q is %w", at.Host, at.Incarnation, ErrUnknown)
	}
	news, err := r.peers.Receive(doc, after)
	if err != nil {
		return err
	}
	if news {
		r.noteClashLocked(at)
		r.any.send()
	}
	r.flushLocked()
	return nil
}

// PeerAttachment is what is known of another host's part in the network.
func (r *Registry) PeerAttachment(host, network string) (overlay.Attachment, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.peers.Attachment(host, network)
}

// fromHost and a name is the scope of what that host has told itself.
const fromHost = "from "

// Catch takes a host's answer to the question for its documents.
func (r *Registry) Catch(_ context.Context, docs Documents) error {
	answer := peers.Answer{Host: docs.Host, Incarnation: docs.Incarnation, Seq: docs.Seq, Networks: docs.Networks}
	var passed []skipped.Record
	for _, at := range docs.New {
		if at.Host != docs.Host || at.Incarnation != docs.Incarnation || at.Seq > docs.Seq {
			return fmt.Errorf("host %q answered with document %d of host %q, and has %d", docs.Host, at.Seq, at.Host, docs.Seq)
		}
		doc, err := peers.NewDocument(at)
		if cannot, bad := skipped.Of(record.AttachmentKey(at.Host, at.Network), err); bad {
			passed = append(passed, cannot)
			continue // what was known stays
		}
		if err != nil {
			return err
		}
		answer.New = append(answer.New, doc)
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
	if !r.peers.Knows(docs.Host, docs.Incarnation) {
		return fmt.Errorf("host %q in incarnation %q is %w", docs.Host, docs.Incarnation, ErrUnknown)
	}
	news, changed, err := r.peers.Catch(answer)
	if err != nil {
		return err
	}
	for _, at := range news {
		r.noteClashLocked(at)
	}
	if changed {
		r.any.send()
	}
	r.flushLocked()
	return nil
}

// flushAfter is how long pushed documents wait for more before they are
// written to this host's state: what a crash loses is asked for again.
const flushAfter = 100 * time.Millisecond

// flushLocked has run write what was pushed.
func (r *Registry) flushLocked() {
	if r.peers.Dirty() {
		wakeUp(r.flushes)
	}
}

// run makes other hosts' records durable until ctx ends. What could not be
// written is tried again.
func (f flusher) run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.flushes:
		case <-ticker.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(flushAfter):
		}
		if err := f.flush(ctx); err != nil && ctx.Err() == nil {
			f.log.WithError(err).Warn("What other hosts told could not be kept for the next start.")
		}
	}
}

func (f flusher) flush(ctx context.Context) error {
	if err := f.keepPushed(); err != nil {
		return err
	}
	f.save(ctx)
	return nil
}

// keepPushed puts what was pushed to what is to be saved.
func (f flusher) keepPushed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ops, err := f.peers.Pushed()
	if err != nil {
		return err
	}
	f.keepLocked(ops...)
	return nil
}
