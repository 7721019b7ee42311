package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Limits of one sandbox, so that a container that asks without end is at its
// own cost. Its descriptors are at most 52: maxStreams, maxLines and maxCalls,
// two sockets to be asked on, its namespace and its interception.
const (
	// maxForwarded queries may wait for Docker's resolver by UDP, and as many
	// more as maxWaiting for their turn.
	maxForwarded = 128
	maxWaiting   = 1024
	maxStreams   = 32 // TCP connections
	maxQuery     = 4096
	// batch is how many datagrams are paid for at once, so that a sandbox that
	// asks too much wakes weft some 80 times a second.
	batch = 128
)

// streamTimeout is how long a TCP client may take for a query, or to read an
// answer, and how long it may be idle (RFC 7766 section 6.2.3 wants seconds).
const streamTimeout = 8 * time.Second

// serveUDP answers queries until the socket is closed. Where a sandbox asks more
// than its budget they are not read for a moment: what the socket does not hold
// the kernel drops, at the cost of who has sent it.
func (v *visit) serveUDP(ctx context.Context, g *errgroup.Group) error {
	conn := v.box.UDP()
	if err := countOverflow(conn); err != nil {
		return err
	}
	buf, control := make([]byte, maxQuery), make([]byte, unix.CmsgSpace(4))
	var dropped uint32
	for paid := 0; ; paid-- {
		if paid == 0 {
			if err := v.budget.WaitN(ctx, min(batch, v.cfg.Rate)); err != nil {
				return closed(ctx, fmt.Errorf("wait for the next queries: %w", err))
			}
			paid = min(batch, v.cfg.Rate)
		}
		n, c, _, from, err := conn.ReadMsgUDPAddrPort(buf, control)
		if err != nil {
			return closed(ctx, fmt.Errorf("read queries: %w", err))
		}
		if now, ok := overflow(control[:c]); ok && now != dropped {
			v.cfg.Unread(now - dropped)
			dropped = now
		}
		began, msg := time.Now(), buf[:n]
		q, fate := parse(msg)
		if n == maxQuery && fate != ignored {
			fate = malformed // its end is missing
		}
		out, outcome := v.own(msg, q, fate, 0)
		if outcome == Forwarded {
			if v.waiting.Add(1) <= maxForwarded+maxWaiting {
				msg := slices.Clone(msg)
				g.Go(func() error {
					v.forwardUDP(ctx, msg, q, from, began)
					return nil
				})
				continue
			}
			v.waiting.Add(-1)
			out, outcome = failure(msg, q, serverFailure), Dropped
		}
		if out != nil {
			_, _ = conn.WriteToUDPAddrPort(out, from) // a client that is gone asks no more
		}
		v.cfg.Observe(outcome, time.Since(began))
	}
}

// forwardUDP has Docker's resolver answer.
func (v *visit) forwardUDP(ctx context.Context, msg []byte, q question, from netip.AddrPort, began time.Time) {
	defer v.waiting.Add(-1)
	conn := v.box.UDP()
	reply := func(out []byte) { _, _ = conn.WriteToUDPAddrPort(out, from) }
	err := v.turn(ctx)
	if err == nil {
		err = v.lines.ask(ctx, msg, func(answer []byte) { reply(v.view.Load().temper(q, answer, time.Now())) })
		<-v.forward
	}
	if err != nil {
		reply(failure(msg, q, serverFailure))
		v.cfg.Observe(Failed, time.Since(began))
		return
	}
	v.cfg.Observe(Forwarded, time.Since(began))
}

// turn waits for a place among the queries under way.
func (v *visit) turn(ctx context.Context) error {
	timer := time.NewTimer(v.cfg.Timeout)
	defer timer.Stop()
	select {
	case v.forward <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errNoAnswer
	}
}

// own gives the answer that needs nobody else. The outcome Forwarded says that
// Docker's resolver is to be asked.
func (v *visit) own(msg []byte, q question, fate fate, limit int) ([]byte, Outcome) {
	switch fate {
	case ignored:
		return nil, Refused
	case malformed:
		return failure(msg, q, formatError), Refused
	case asked:
		if out := v.view.Load().answer(msg, q, limit); out != nil {
			return out, Answered
		}
	case foreign:
	}
	return nil, Forwarded
}

// serveTCP takes connections until the listener is closed. One costs as much as
// a query.
func (v *visit) serveTCP(ctx context.Context, g *errgroup.Group) error {
	for {
		if err := v.budget.Wait(ctx); err != nil {
			return closed(ctx, fmt.Errorf("wait for the next connection: %w", err))
		}
		conn, err := v.box.TCP().Accept()
		if err != nil {
			return closed(ctx, fmt.Errorf("accept a connection: %w", err))
		}
		select {
		case v.streams <- struct{}{}:
		default:
			conn.Close()
			v.cfg.Observe(Dropped, 0)
			continue
		}
		g.Go(func() error {
			v.serveStream(ctx, conn)
			<-v.streams
			return nil
		})
	}
}

// serveStream answers one connection's queries, one after the other.
func (v *visit) serveStream(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	for {
		if conn.SetDeadline(time.Now().Add(streamTimeout)) != nil {
			return
		}
		msg, err := readMessage(conn)
		if err != nil || v.budget.Wait(ctx) != nil {
			return
		}
		began := time.Now()
		q, fate := parse(msg)
		out, outcome := v.own(msg, q, fate, tcpSize)
		if outcome == Forwarded {
			v.waiting.Add(1)
			if out, err = v.calls.ask(ctx, msg); err != nil {
				out, outcome = failure(msg, q, serverFailure), Failed
			} else {
				out = v.view.Load().temper(q, out, time.Now())
			}
			v.waiting.Add(-1)
		}
		v.cfg.Observe(outcome, time.Since(began))
		if out == nil || conn.SetDeadline(time.Now().Add(streamTimeout)) != nil || writeMessage(conn, out) != nil {
			return
		}
	}
}

// closed is the error of a socket, if it was not closed on purpose.
func closed(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
