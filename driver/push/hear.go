package push

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// hear takes datagrams until conn is closed.
func (p *Push) hear(ctx context.Context, conn PacketConn) error {
	buf := make([]byte, maxDatagram+1)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("read datagrams: %w", err)
		}
		p.stats.received.Add(1)
		p.stats.receivedBytes.Add(uint64(n))
		if err := p.take(ctx, buf[:n], from.Addr()); err != nil {
			p.stats.refused.Add(1)
			p.log.WithError(err).WithField("from", from).Debug("A datagram was refused.")
		}
	}
}

// take takes one datagram that came from the address.
func (p *Push) take(ctx context.Context, sealed []byte, from netip.Addr) error {
	if len(sealed) > maxDatagram {
		return fmt.Errorf("a datagram of more than %d bytes", maxDatagram)
	}
	box := p.sealer()
	if box == nil {
		return nil // the store has not told the keys yet
	}
	plain, key, err := box.open(sealed, forDatagram)
	if err != nil {
		return err
	}
	m, err := decode(plain)
	if err != nil {
		return err
	}
	if _, err := p.admit(box, m, plain, forDatagram, from); err != nil {
		return err
	}
	if (m.Kind == beat || m.Kind == delta) && !p.circle.admits(m) {
		if m.Process == "" && m.Kind == beat {
			return fmt.Errorf("beat %d of host %q names no process, as those of a weft before the one on that host", m.Number, m.Host)
		}
		return nil // its host is asked
	}
	switch m.Kind { // the others do not come as datagrams
	case beat:
		if !p.reg.Heard(m.beat(key)) {
			return fmt.Errorf("beat %d of host %q, whose number does not count", m.Number, m.Host)
		}
		p.circle.meet(m)
	case delta:
		at := *m.Doc
		if m.Patch != nil {
			was, ok := p.reg.PeerAttachment(m.Host, at.Network)
			if !ok || was.Incarnation != at.Incarnation || was.Seq != m.Patch.Base {
				return nil // a beat says that something is missing
			}
			at = m.Patch.apply(was, at)
		}
		if err := p.reg.Receive(ctx, at, m.After); err != nil {
			return err
		}
	default:
		return fmt.Errorf("a %s came as a datagram", m.Kind)
	}
	if _, missing := p.reg.Missing(m.Host); missing {
		p.fetch.ask(m.Host)
	}
	return nil
}
