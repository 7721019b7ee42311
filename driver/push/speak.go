package push

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// beatEvery is how often each host is told that this one lives.
const beatEvery = time.Second

// repeats are the beats out of turn after a change, each after the one before,
// so that a peer which missed the change does not wait for the next in turn.
var repeats = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}

// maxDatagram is the longest that is sent, in bytes: it passes any underlay
// whole, IPv6's least MTU of 1280 (RFC 8200 section 5) with its headers.
const maxDatagram = 1200

// maxBurst is how many documents are pushed at once; more are fetched.
const maxBurst = 16

// purposes of sealed messages.
const (
	forDatagram = "datagram"
	forQuestion = "question to " // + host
	forAnswer   = "answer to "   // + the question's nonce, and the message's place
)

// speak sends beats and changes until ctx ends, and then says so.
func (p *Push) speak(ctx context.Context, conn PacketConn) {
	changes, stop := p.reg.LocalChanges()
	defer stop()
	var said said
	if docs, err := p.reg.Documents(ctx, 0); err != nil {
		p.logUnnumbered(ctx, err)
	} else {
		said.note(docs) // the beat announces all that is new since the process before
	}
	first := p.beat(false)
	first.Ask = true
	p.sendBeat(conn, first)
	beats := time.NewTimer(rand.N(beatEvery)) // hosts that start together do not speak together
	defer beats.Stop()
	again := newRepeater(repeats)
	defer again.stop()
	// Beats do not wait for changes, which wait for this host's disk.
	news := make(chan struct{}, 1)
	var tells sync.WaitGroup
	tells.Go(func() { p.tell(ctx, conn, &said, changes, news) })
	for {
		select {
		case <-ctx.Done():
			tells.Wait()
			p.sendBeat(conn, p.beat(true)) // the last word
			return
		case <-beats.C:
			beats.Reset(beatEvery)
			p.sendBeat(conn, p.beat(false))
		case <-again.due():
			again.next()
			p.sendBeat(conn, p.beat(false))
		case <-news:
			again.start()
		case <-p.circle.due:
			p.sendOwed(conn)
		}
	}
}

// tell sends changes until ctx ends, and gives word of each.
func (p *Push) tell(ctx context.Context, conn PacketConn, said *said, changes <-chan struct{}, news chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
		changed := p.sendChanges(ctx, conn, said)
		if probe := p.reg.Self().Probe; probe != said.probe {
			said.probe = probe
			p.sendBeat(conn, p.beat(false))
			changed = true
		}
		if !changed {
			continue
		}
		select {
		case news <- struct{}{}:
		default:
		}
	}
}

// said is what peers have been told, or told of.
type said struct {
	high  uint64
	probe uint64
	docs  map[string]overlay.Attachment // by network id, those that are not gone
}

func (s *said) note(docs registry.Documents) {
	if s.docs == nil {
		s.docs = map[string]overlay.Attachment{}
	}
	for _, at := range docs.New {
		if at.Gone {
			delete(s.docs, at.Network)
		} else {
			s.docs[at.Network] = at
		}
	}
	s.high = docs.Seq
}

func (p *Push) logUnnumbered(ctx context.Context, err error) {
	if ctx.Err() == nil && !errors.Is(err, registry.ErrRebuilding) { // that one is told of when it is known
		p.log.WithError(err).Warn("This host's changes could not be numbered; other hosts learn of them later.")
	}
}

// nextNumber numbers a beat. Numbers go on above those of the process before,
// whatever the clock says.
func (p *Push) nextNumber() uint64 {
	for {
		was := p.number.Load()
		n := max(was, p.reg.Runs()<<32) + 1
		if p.number.CompareAndSwap(was, n) {
			return n
		}
	}
}

// beat makes the one that says that this host lives, or rests.
func (p *Push) beat(rests bool) message {
	self, contact := p.reg.Self(), p.reg.Contact()
	return message{
		Kind: beat, Host: self.Name, Incarnation: self.Incarnation, Process: p.circle.self, Number: p.nextNumber(), Seq: p.reg.Seq(),
		StoreOK: contact.Err == nil, StoreFor: max(0, time.Since(contact.Since).Milliseconds()), Probe: self.Probe, Rests: rests, Away: rests && p.reg.Away(),
	}
}

// sendBeat tells every host.
func (p *Push) sendBeat(conn PacketConn, m message) {
	peers := p.reg.PushPeers()
	p.circle.keep(peers)
	p.send(conn, m, peers)
}

// sendOwed introduces this process to hosts that have asked, and asks hosts that have not
// introduced theirs.
func (p *Push) sendOwed(conn PacketConn) {
	for name, w := range p.circle.owed() {
		if peer, ok := p.reg.PushPeer(name); ok {
			m := p.beat(false)
			m.To, m.Ask = w.to, w.ask
			p.send(conn, m, []overlay.Host{peer})
		}
	}
}

// sendChanges sends what has changed since it was said; false if nothing has.
func (p *Push) sendChanges(ctx context.Context, conn PacketConn, said *said) bool {
	docs, err := p.reg.Documents(ctx, said.high)
	if err != nil {
		p.logUnnumbered(ctx, err)
		return false
	}
	if docs.Seq == said.high {
		return false
	}
	peers, after := p.reg.PushPeers(), said.high
	poke := len(docs.New) > maxBurst
	for _, at := range docs.New {
		if poke {
			break
		}
		poke = !p.sendDocument(conn, at, after, said.docs[at.Network], peers)
		after = at.Seq
	}
	if poke {
		p.sendBeat(conn, p.beat(false))
	}
	said.note(docs)
	return true
}

// sendDocument sends a document, or what is new in it since it was as in was;
// false if neither fits a datagram.
func (p *Push) sendDocument(conn PacketConn, at overlay.Attachment, after uint64, was overlay.Attachment, peers []overlay.Host) bool {
	m := message{Kind: delta, Host: at.Host, Incarnation: at.Incarnation, Process: p.circle.self, Number: p.number.Load(), After: after, Doc: &at}
	if p.send(conn, m, peers) {
		return true
	}
	change, news, ok := diff(was, at)
	if !ok || was.Seq == 0 {
		return false
	}
	m.Doc, m.Patch = &news, &change
	return p.send(conn, m, peers)
}

// send seals a message, once for each key that hosts have, and sends it to all; false if
// it is too long.
func (p *Push) send(conn PacketConn, m message, to []overlay.Host) bool {
	box := p.sealer()
	if box == nil || len(to) == 0 {
		return true
	}
	plain, err := m.encode()
	if err != nil {
		p.log.WithError(err).Error("A message to other hosts could not be made.")
		return true
	}
	if overhead+len(plain)+signatureLength > maxDatagram {
		return false
	}
	plain = box.sign(plain, forDatagram, p.reg.Sign)
	made := map[overlay.Keys][]byte{}
	for _, peer := range to {
		sealed := made[peer.Keys]
		if sealed == nil {
			sealed = box.seal(plain, forDatagram, peer.Keys)
			made[peer.Keys] = sealed
		}
		if _, err := conn.WriteToUDPAddrPort(sealed, peer.Push); err != nil {
			p.stats.failed.Add(1) // no route at the moment, or no buffers: as good as lost
			continue
		}
		p.stats.sent.Add(1)
		p.stats.sentBytes.Add(uint64(len(sealed)))
	}
	return true
}
