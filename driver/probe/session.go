package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// The ports of beacons, in the probe network.
const (
	sumsPort  = 4789
	plainPort = 4790
)

// Each peer gets four beacons in each round, so a host sends at most 1000 a
// second however many peers there are.
const (
	leastRound = 200 * time.Millisecond
	perPeer    = 4 * time.Millisecond
)

// session is this host's part in a probe.
type session struct {
	*Prober
	table       *table
	sums, plain PacketConn
	self        overlay.Host
	peers       []overlay.ProbePeer
	finders     map[string]*finder
	said        string // the last row that was published, without its age
	rows        chan Row
	next        time.Duration // the row's age at which it is published again
}

// takePart sends and listens until the time is over.
func (p *Prober) takePart(ctx context.Context) error {
	if err := p.cfg.Sync(ctx); err != nil {
		return fmt.Errorf("make the probe network: %w", err)
	}
	s := &session{Prober: p, self: p.cfg.Snapshot().Self, finders: map[string]*finder{}, rows: make(chan Row, 1)}
	s.table = newTable(s.self.Name)
	own := overlay.ProbeAddr(s.self.VTEP)
	var err error
	if s.sums, err = p.cfg.Listen(ctx, netip.AddrPortFrom(own, sumsPort), true); err != nil {
		return err
	}
	defer s.sums.Close()
	if s.plain, err = p.cfg.Listen(ctx, netip.AddrPortFrom(own, plainPort), false); err != nil {
		return err
	}
	defer s.plain.Close()
	p.setTable(s.table, nil)

	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Go(func() error { return s.hear(s.sums, true) })
	g.Go(func() error { return s.hear(s.plain, false) })
	g.Go(func() error {
		s.publish(ctx)
		return nil
	})
	g.Go(func() error {
		defer cancel()
		defer s.sums.Close()
		defer s.plain.Close()
		return s.speak(ctx)
	})
	return g.Wait()
}

// hear counts what comes until conn is closed.
func (s *session) hear(conn PacketConn, sums bool) error {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read beacons: %w", err)
		}
		s.table.take(buf[:n], from.Addr().Unmap(), sums, time.Now())
	}
}

var errMoved = errors.New("the underlay's address has changed")

// speak sends a round of beacons now and then until the time is over.
func (s *session) speak(ctx context.Context) error {
	changes, stop := s.cfg.Changes()
	defer stop()
	if err := s.follow(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
			if !s.cfg.Probing() {
				return nil
			}
			if err := s.follow(); err != nil {
				return err
			}
		case <-timer.C:
			timer.Reset(max(leastRound, time.Duration(len(s.peers))*perPeer))
			if err := s.round(); err != nil {
				return err
			}
			s.tell()
		}
	}
}

// follow takes over changes of the peers and of the requests.
func (s *session) follow() error {
	snap := s.cfg.Snapshot()
	if snap.Self.VTEP != s.self.VTEP {
		return errMoved
	}
	s.peers = overlay.ProbePeers(snap)
	if s.table.expect(s.peers, snap.Probes, time.Now()) {
		s.said, s.next = "", settled
		clear(s.finders)
	}
	return nil
}

// round sends each peer its beacons.
func (s *session) round() error {
	row := s.table.row(time.Now())
	mine := &row
	if text, err := json.Marshal(row); err != nil || len(text) > rowInBeacon {
		mine = nil // others have it from the store
	}
	sent := false
	var failed error
	for _, peer := range s.peers {
		err := s.send(peer, mine, row.Up)
		sent = sent || err == nil
		failed = errors.Join(failed, err)
	}
	if !sent { // nothing could be sent: the probe network was made anew
		return failed
	}
	return nil
}

// rowInBeacon is how many bytes of JSON a row may have to be in a beacon of full
// size: it leaves room for the rest where the MTU is the least, 1210.
const rowInBeacon = 900

// send sends one peer its beacons of a round.
func (s *session) send(peer overlay.ProbePeer, row *Row, up time.Duration) error {
	heard, said := s.table.from(peer.Host)
	b := beacon{Host: s.self.Name, MTU: peer.MTU, Largest: heard.Largest, Final: s.finders[peer.Host].done()}
	write := func(k kind, size int, conns map[PacketConn]uint16) error {
		b.Kind = k
		payload, err := b.encode(size)
		if err != nil {
			return err
		}
		for conn, port := range conns {
			_, err := conn.WriteToUDPAddrPort(payload, netip.AddrPortFrom(peer.Addr, port))
			if err != nil && !errors.Is(err, unix.EMSGSIZE) { // a device's MTU follows in a moment
				return fmt.Errorf("send beacons to host %s: %w", peer.Host, err)
			}
		}
		return nil
	}
	both := map[PacketConn]uint16{s.sums: sumsPort, s.plain: plainPort}
	err := write(small, 0, both)
	b.Row = row
	err = errors.Join(err, write(full, peer.MTU, both))
	b.Row = nil
	if said > 0 && said < peer.MTU && up > time.Second {
		f := s.finders[peer.Host]
		if f == nil {
			f = &finder{}
			s.finders[peer.Host] = f
		}
		for _, size := range f.next(peer.MTU, said) {
			err = errors.Join(err, write(search, size, map[PacketConn]uint16{s.plain: plainPort}))
		}
	}
	return err
}

// When a host's row goes to the store: as soon as all is well, else when it is settled
// old, and from then on again and again until nobody waits for it any more.
const (
	settled = 3 * time.Second
	again   = 2 * time.Second
)

// tell has the row published if it is time.
func (s *session) tell() {
	row := s.table.row(time.Now())
	state := "waiting"
	if s.allWell(row) {
		state = "well"
	}
	due := row.Up >= s.next && row.Up < answerIn && s.said != "well"
	if !due && (state != "well" || s.said == "well") {
		return
	}
	if due {
		s.next = row.Up + again
	}
	s.said = state
	select {
	case <-s.rows: // a row that is not written yet, and is old by now
	default:
	}
	s.rows <- row
}

func (s *session) allWell(row Row) bool {
	for _, p := range s.peers {
		if !row.Heard[p.Host].well() {
			return false
		}
	}
	return true
}

// publish writes rows to the store until ctx ends, and then deletes the last one.
func (s *session) publish(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			s.write(context.WithoutCancel(ctx), kvstore.Op{Kind: kvstore.Delete, Key: rowKey(s.self.Name)})
			return
		case row := <-s.rows:
			b, err := json.Marshal(row)
			if err != nil {
				s.cfg.Log.WithError(err).Error("What this host has heard could not be encoded.")
				continue
			}
			s.write(ctx, kvstore.Op{Kind: kvstore.Set, Key: rowKey(s.self.Name), Value: b})
		}
	}
}

func (s *session) write(ctx context.Context, op kvstore.Op) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := s.cfg.Store.Txn(ctx, op); err != nil {
		s.cfg.Log.WithError(err).Debug("What this host has heard could not be told by the store.")
	}
}
