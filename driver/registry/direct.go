package registry

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
)

// What comes from other hosts directly, and what they are told: the front of package
// peers. Package push has the wire.

// Direct is what this host and the others tell each other directly; package push asks it.
type Direct struct {
	*core
	*documents
	*contact
	epochs  *epochs
	keyring *Keyring
	peers   *peers.Peers

	signs ed25519.PrivateKey
	away  atomic.Bool // this host's machine shuts down
}

// PushPeers are the other hosts that hear direct messages, sorted by name.
func (d *Direct) PushPeers() []overlay.Host {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.peers.Receivers(d.keyring.meta.Ring())
}

// PushPeer is the other host if it hears direct messages and may send them.
func (d *Direct) PushPeer(host string) (overlay.Host, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.peers.Receiver(host, d.keyring.meta.Ring())
}

// Heard takes a sign of life. What is no news, or of an unknown host, changes
// nothing and gives false.
func (d *Direct) Heard(b peers.Beat) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	heard := d.peers.Hear(b, d.keyring.meta.Ring(), time.Now())
	if heard.Again {
		d.log.WithField("host", b.Host).Info("A silent host is heard again.")
	}
	if heard.Asks {
		saidToProbe(d.log, b.Host)
	}
	if heard.Changed {
		d.any.send()
	}
	return heard.Counts
}

func saidToProbe(log logrus.FieldLogger, host string) {
	log.WithField("host", host).Debug("A host asks to probe the paths between hosts.")
}

// Missing says whether the host has announced more than has come from it, and
// up to which number all has come.
func (d *Direct) Missing(host string) (since uint64, missing bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.peers.Missing(host)
}

// Receive takes one document that its host has pushed. The number before it,
// after, tells whether one is missing between. It fails with an ErrUnknown for
// a host, or an incarnation, that the store has not told of.
func (d *Direct) Receive(_ context.Context, at overlay.Attachment, after uint64) error {
	doc, err := peers.NewDocument(at)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.peers.Knows(at.Host, at.Incarnation) {
		return fmt.Errorf("host %q in incarnation %q is %w", at.Host, at.Incarnation, ErrUnknown)
	}
	news, err := d.peers.Receive(doc, after)
	if err != nil {
		return err
	}
	if news {
		d.epochs.noteClashLocked(at)
		d.any.send()
	}
	d.flushLocked()
	return nil
}

// PeerAttachment is what is known of another host's part in the network.
func (d *Direct) PeerAttachment(host, network string) (overlay.Attachment, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.peers.Attachment(host, network)
}

// fromHost and a name is the scope of what that host has told itself.
const fromHost = "from "

// Catch takes a host's answer to the question for its documents.
func (d *Direct) Catch(_ context.Context, docs Documents) error {
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
	d.passOver(fromHost+docs.Host, passed...)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.peers.Knows(docs.Host, docs.Incarnation) {
		return fmt.Errorf("host %q in incarnation %q is %w", docs.Host, docs.Incarnation, ErrUnknown)
	}
	news, changed, err := d.peers.Catch(answer)
	if err != nil {
		return err
	}
	for _, at := range news {
		d.epochs.noteClashLocked(at)
	}
	if changed {
		d.any.send()
	}
	d.flushLocked()
	return nil
}

// Keys are what direct messages are sealed and opened with.
type Keys struct {
	Cluster string
	Ring    keys.Ring // which one seals a message, its receiver decides
	Former  []string  // open messages too, and seal none
}

// Keys are those of the moment.
func (d *Direct) Keys() Keys {
	d.mu.RLock()
	defer d.mu.RUnlock()
	now := time.Now()
	out := Keys{Cluster: d.keyring.meta.ID}
	out.Ring, out.Former = keys.State{Ring: d.keyring.meta.Ring(), Age: d.keyring.agesLocked(now)}.Usable()
	for key, since := range d.keyring.rotation.former {
		if now.Sub(since) < keys.Linger {
			out.Former = append(out.Former, key)
		}
	}
	slices.Sort(out.Former)
	return out
}

// Away says whether GoAway was called.
func (d *Direct) Away() bool { return d.away.Load() }

// Quiet are the hosts whose machines are to be asked whether weft runs there,
// sorted by name.
func (d *Direct) Quiet() []overlay.Host {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.peers.Quiet()
}

// MachineAnswers says that the host's machine lives, and whether it refuses the connection
// since no weft runs on it.
func (d *Direct) MachineAnswers(host overlay.Host, refuses bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peers.MachineAnswers(host, refuses)
}

// flushLocked has flusher write what was pushed.
func (d *Direct) flushLocked() {
	if d.peers.Dirty() {
		wakeUp(d.flushes)
	}
}
