package push

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/peers"
)

// Registry is what this host knows; *registry.Direct is one.
type Registry interface {
	Self() overlay.Host
	Keys() registry.Keys
	Contact() registry.Contact
	Runs() uint64 // processes so far, this one included; may grow
	Changes() (changes <-chan struct{}, stop func())

	// Out.
	LocalChanges() (changes <-chan struct{}, stop func())
	PushPeers() []overlay.Host
	PushPeer(host string) (peer overlay.Host, ok bool)
	Seq() uint64
	Away() bool // this host's machine shuts down
	Sign(text []byte) []byte
	Documents(ctx context.Context, since uint64) (registry.Documents, error)

	// In.
	Heard(b peers.Beat) bool
	Quiet() []overlay.Host                          // whose machines are to be asked
	MachineAnswers(host overlay.Host, refuses bool) // it lives; it refuses connections
	Missing(host string) (since uint64, missing bool)
	PeerAttachment(host, network string) (overlay.Attachment, bool)
	Receive(ctx context.Context, at overlay.Attachment, after uint64) error
	Catch(ctx context.Context, docs registry.Documents) error
}

// PacketConn is the part of *net.UDPConn that is used. Safe for concurrent use.
type PacketConn interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// Config is what a Push is made from.
type Config struct {
	Registry Registry
	Log      logrus.FieldLogger

	// Listen opens the UDP side; nil: ListenUDP.
	Listen func(netip.AddrPort) (PacketConn, error)
}

// Push sends and receives. Safe for concurrent use.
type Push struct {
	reg    Registry
	log    logrus.FieldLogger
	listen func(netip.AddrPort) (PacketConn, error)
	number atomic.Uint64 // of the last beat, see nextNumber
	circle *circle
	fetch  fetcher
	stats  stats

	mu    sync.Mutex // guards what follows
	boxed registry.Keys
	box   *box
}

// Stats counts since the start.
type Stats struct {
	Sent, SentBytes         uint64 // datagrams, without IP and UDP headers
	Received, ReceivedBytes uint64
	Refused                 uint64 // datagrams and questions that no member of this cluster has sealed and sent, or that make no sense
	Failed                  uint64 // datagrams that could not be sent
	Fetches, FetchesFailed  uint64 // the second never exceeds the first
	Answers                 uint64 // questions of others that were answered
}

type stats struct {
	sent, sentBytes, received, receivedBytes, refused, failed, fetches, fetchesFailed, answers atomic.Uint64
}

// New makes a Push that does nothing until Run.
func New(cfg Config) *Push {
	p := &Push{reg: cfg.Registry, log: cfg.Log, listen: cfg.Listen, circle: newCircle()}
	if p.listen == nil {
		p.listen = ListenUDP
	}
	p.fetch = newFetcher(p)
	return p
}

// Stats is a copy of the counts.
func (p *Push) Stats() Stats {
	s := &p.stats
	failed := s.fetchesFailed.Load() // first, so that it never exceeds Fetches
	return Stats{
		Sent: s.sent.Load(), SentBytes: s.sentBytes.Load(), Received: s.received.Load(), ReceivedBytes: s.receivedBytes.Load(),
		Refused: s.refused.Load(), Failed: s.failed.Load(), Fetches: s.fetches.Load(), FetchesFailed: failed,
		Answers: s.answers.Load(),
	}
}

// receiveBuffer holds a burst while this process is busy: a few hundred
// datagrams, as far as net.core.rmem_max lets it.
const receiveBuffer = 1 << 20

// ListenUDP opens the UDP side on the address.
func ListenUDP(at netip.AddrPort) (PacketConn, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(receiveBuffer) // less is only slower
	return conn, nil
}

// Run speaks and listens at this host's Push address until ctx ends, and
// follows when the address changes. It never fails: without it, what hosts know
// of each other comes through the store.
func (p *Push) Run(ctx context.Context) error {
	changes, stop := p.reg.Changes()
	defer stop()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 100*time.Millisecond, 10*time.Second
	told := false
	for ctx.Err() == nil {
		at := p.reg.Self().Push
		if !at.IsValid() {
			select {
			case <-ctx.Done():
			case <-changes:
			}
			continue
		}
		err := p.serve(ctx, at, func() { retry.Reset(); told = false })
		if ctx.Err() != nil || err == nil {
			continue
		}
		if !told {
			p.log.WithError(err).WithField("address", at).Warn("Direct messages between hosts do not work at the moment; changes go through the store alone.")
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry.NextBackOff()):
		}
	}
	return nil
}

// serve works at one address until ctx ends or the address is another's.
func (p *Push) serve(ctx context.Context, at netip.AddrPort, ready func()) error {
	conn, err := p.listen(at)
	if err != nil {
		return fmt.Errorf("listen on %s (UDP): %w", at, err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("listen on %s (TCP): %w", at, err)
	}
	ready()
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Go(func() error {
		defer cancel()
		p.awaitMove(ctx, at)
		return nil
	})
	g.Go(func() error {
		defer conn.Close()
		p.speak(ctx, conn)
		return nil
	})
	g.Go(func() error {
		defer cancel()
		return p.hear(ctx, conn)
	})
	g.Go(func() error {
		defer cancel()
		return p.answer(ctx, listener)
	})
	g.Go(func() error { return p.fetch.run(ctx) })
	g.Go(func() error {
		p.askMachines(ctx)
		return nil
	})
	return g.Wait()
}

// awaitMove waits until this host's address is not at any more.
func (p *Push) awaitMove(ctx context.Context, at netip.AddrPort) {
	changes, stop := p.reg.Changes()
	defer stop()
	for p.reg.Self().Push == at {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
	}
}

// sealer gives the box for the cluster's present keys, or nil while there are none.
func (p *Push) sealer() *box {
	now := p.reg.Keys()
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.boxed
	if now.Cluster == was.Cluster && now.Ring.Generation == was.Ring.Generation &&
		slices.Equal(now.Ring.Keys, was.Ring.Keys) && slices.Equal(now.Former, was.Former) {
		return p.box
	}
	p.boxed, p.box = now, nil
	if now.Cluster == "" || len(now.Ring.Keys) == 0 {
		return nil
	}
	b, err := newBox(now.Cluster, now.Ring, now.Former...)
	if err != nil {
		p.log.WithError(err).Error("The cluster's record has keys that cannot be used; changes go through the store alone.")
		return nil
	}
	p.box = b
	return b
}
