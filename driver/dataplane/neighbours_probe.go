package dataplane

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane/direct"
	"github.com/weft-net/weft/driver/dataplane/fastpath"
	"github.com/weft-net/weft/driver/overlay"
)

// RunDirect probes the hosts on the same segment that take packets without a tunnel, and
// lets packets go there for as long as probes are answered. announce is told where this
// host takes such packets, whenever that changes; zero: nowhere. It returns nil when ctx ends.
func (d *Dataplane) RunDirect(ctx context.Context, announce func(overlay.MAC)) error {
	p := &prober{d: d, socket: -1, pairs: map[laneKey]*probedPair{}, announce: announce}
	defer p.end()
	for next := time.Now(); ctx.Err() == nil; {
		if now := time.Now(); !now.Before(next) {
			p.look(ctx, now)
			next = now.Add(direct.Every)
		}
		p.listen(ctx, next)
	}
	return nil
}

// prober is what RunDirect has.
type prober struct {
	d        *Dataplane
	plane    *fastpath.Plane
	probes   *fastpath.Probes // nil: it is not listened
	stop     func() bool      // of closing probes when ctx ends
	socket   int              // -1: it is not open
	told     toldNeighbours
	pairs    map[laneKey]*probedPair
	announce func(overlay.MAC)
	nic      overlay.MAC // as announced
	trouble  string      // as logged
}

type laneKey struct {
	vni  uint32
	vtep netip.Addr
}

// probedPair is this host and another one, in one network.
type probedPair struct {
	direct.Pair
	lane
	nonce          uint64 // of the last probe
	sent, answered bool   // it was
	number         int    // of probes that were answered
}

// look takes over what the last pass has told, decides, and sends probes.
func (p *prober) look(ctx context.Context, now time.Time) {
	told := p.d.fast.told.Load()
	if told == nil || told.plane == nil {
		return
	}
	p.plane, p.told = told.plane, told.neighbours
	if err := p.open(ctx); err != nil {
		p.log(err)
		p.told.nic, p.told.lanes = overlay.MAC{}, nil
	}
	if p.nic != p.told.nic {
		p.nic = p.told.nic
		p.announce(p.nic)
	}
	p.follow()
	for _, pair := range p.pairs {
		if err := p.decide(pair, now); err != nil {
			p.log(err)
		}
	}
	p.show()
}

// open opens what probes come and go by.
func (p *prober) open(ctx context.Context) (err error) {
	if p.probes == nil {
		if p.probes, err = p.plane.Probes(); err != nil {
			return err
		}
		probes := p.probes
		p.stop = context.AfterFunc(ctx, func() { _ = probes.Close() })
	}
	if p.socket < 0 {
		err = visit(p.d.hostNS, func() error {
			p.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("open a socket for probes without a tunnel: %w", err)
	}
	return nil
}

// follow brings the pairs to the lanes that there are.
func (p *prober) follow() {
	wanted := map[laneKey]bool{}
	for _, l := range p.told.lanes {
		key := laneKey{l.vni, l.vtep}
		wanted[key] = true
		pair := p.pairs[key]
		if pair == nil || pair.mac != l.mac || pair.network != l.network || len(pair.ways) > 0 && len(l.ways) == 0 {
			if pair != nil {
				p.release(pair)
			}
			pair = &probedPair{}
			p.pairs[key] = pair
		}
		pair.lane = l
	}
	for key, pair := range p.pairs {
		if !wanted[key] {
			p.release(pair)
			delete(p.pairs, key)
		}
	}
}

// release sends the pair's packets through the tunnel.
func (p *prober) release(pair *probedPair) {
	if pair.State != direct.Direct {
		return
	}
	if err := p.plane.EndLease(pair.vni, pair.vtep); err != nil { // it ends by itself
		p.log(err)
	}
}

// decide goes by what became of the last probe, and sends the next one.
func (p *prober) decide(pair *probedPair, now time.Time) error {
	if len(pair.ways) == 0 {
		return nil
	}
	was, answered := pair.State, pair.answered
	pair.Pair = pair.Next(now, pair.sent, answered)
	var errs []error
	switch {
	case pair.State == direct.Direct && answered:
		errs = append(errs, p.plane.Lease(pair.vni, pair.vtep, pair.mac, direct.Lease))
	case was == direct.Direct && pair.State != direct.Direct:
		errs = append(errs, p.plane.EndLease(pair.vni, pair.vtep))
	}
	if pair.State != was && (was == direct.Direct || pair.State == direct.Direct) {
		p.d.log.WithField("id", pair.network).WithField("host", pair.vtep).WithField("way", pair.State).Debug("Packets of a network take another way to a host.")
	}
	if answered {
		pair.number++ // else the same addresses again: it may be them
	}
	pair.sent, pair.answered = false, false
	if pair.Probes(now) {
		src, dst := pair.addresses(pair.number)
		pair.nonce, pair.sent = nonce(), true
		errs = append(errs, p.send(fastpath.Probe{Nonce: pair.nonce, Src: src, Dst: dst}, pair.mac))
	}
	return errors.Join(errs...)
}

func nonce() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return binary.NativeEndian.Uint64(b[:])
}

func (p *prober) send(probe fastpath.Probe, to overlay.MAC) error {
	frame := probe.Frame(p.told.host.MAC, to, p.told.host.Port)
	at := &unix.SockaddrLinklayer{Ifindex: p.told.host.Uplink, Halen: uint8(len(to))}
	copy(at.Addr[:], to[:])
	if err := unix.Sendto(p.socket, frame, 0, at); err != nil {
		return fmt.Errorf("send a probe without a tunnel to %s: %w", probe.Dst, err)
	}
	return nil
}

// listen answers questions and notes answers until the time has come.
func (p *prober) listen(ctx context.Context, until time.Time) {
	if p.probes == nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(until)):
		}
		return
	}
	got, err := p.probes.Next(until)
	switch {
	case errors.Is(err, fastpath.ErrNoProbe) || ctx.Err() != nil:
		return
	case err != nil:
		p.log(err)
		p.close()
		return
	}
	pair := p.pairs[laneKey{got.VNI, got.VTEP}]
	switch {
	case pair == nil: // it is gone since
	case got.Answer:
		pair.answered = pair.answered || pair.sent && got.Nonce == pair.nonce
	default:
		if err := p.send(fastpath.Probe{Answer: true, Nonce: got.Nonce, Src: got.Dst, Dst: got.Src}, pair.mac); err != nil {
			p.log(err)
		}
	}
}

// show tells how packets go.
func (p *prober) show() {
	out := make([]Way, 0, len(p.pairs))
	for _, pair := range p.pairs {
		if len(pair.ways) == 0 {
			continue
		}
		out = append(out, Way{Network: pair.network, VTEP: pair.vtep, State: pair.State, Since: pair.Since})
	}
	slices.SortFunc(out, func(a, b Way) int {
		return slices.Compare([]string{a.VTEP.String(), a.Network}, []string{b.VTEP.String(), b.Network})
	})
	p.d.directs.Store(&Directs{NIC: p.told.nic, Why: p.told.why, Ways: out})
}

// log tells of a trouble once. What it costs is that packets go through tunnels.
func (p *prober) log(err error) {
	if text := err.Error(); text != p.trouble {
		p.trouble = text
		p.d.log.WithError(err).Debug("A host on the same segment cannot be probed at the moment.")
	}
}

func (p *prober) close() {
	if p.probes != nil {
		p.stop()
		_ = p.probes.Close()
		p.probes = nil
	}
}

func (p *prober) end() {
	for _, pair := range p.pairs {
		p.release(pair)
	}
	p.close()
	if p.socket >= 0 {
		_ = unix.Close(p.socket)
	}
	p.d.directs.Store(nil)
}
