package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// maxCalls is how many TCP connections to Docker's resolver a sandbox has at
// most. A query has one for itself until it is answered.
const maxCalls = 8

// calls are one sandbox's TCP connections to Docker's resolver.
type calls struct {
	dial    func(ctx context.Context, network string) (net.Conn, error)
	timeout time.Duration // for one query, all in all
	places  chan struct{} // a place is a query under way

	mu    sync.Mutex
	spare []spare // guarded by mu; the latest is last
}

type spare struct {
	conn  net.Conn
	since time.Time
}

func newCalls(dial func(context.Context, string) (net.Conn, error), timeout time.Duration) *calls {
	return &calls{dial: dial, timeout: timeout, places: make(chan struct{}, maxCalls)}
}

// ask sends one query and gives the answer.
func (c *calls) ask(ctx context.Context, msg []byte) ([]byte, error) {
	deadline := time.Now().Add(c.timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errNoAnswer, ctx.Err())
	}
	for {
		conn, used := c.take()
		if !used {
			var err error
			if conn, err = c.dial(ctx, "tcp4"); err != nil {
				return nil, err
			}
		}
		answer, err := exchange(ctx, conn, deadline, msg)
		if err == nil {
			c.keep(conn)
			return answer, nil
		}
		conn.Close()
		// The resolver may have closed a connection that it found idle.
		if !used || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
		}
	}
}

// exchange has a connection to itself, so the next message is the answer.
func exchange(ctx context.Context, conn net.Conn, deadline time.Time, msg []byte) ([]byte, error) {
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // in the past
	err := writeMessage(conn, msg)
	var answer []byte
	if err == nil {
		answer, err = readMessage(conn)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return answer, err
}

func (c *calls) take() (net.Conn, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.spare)
	if n == 0 {
		return nil, false
	}
	conn := c.spare[n-1].conn
	c.spare = c.spare[:n-1]
	return conn, true
}

func (c *calls) keep(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spare = append(c.spare, spare{conn, time.Now()})
}

// prune closes connections that have not been used since the time.
func (c *calls) prune(before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.spare) > 0 && c.spare[0].since.Before(before) {
		c.spare[0].conn.Close()
		c.spare = c.spare[1:]
	}
	if len(c.spare) == 0 {
		c.spare = nil
	}
}

// writeMessage writes with the length before it (RFC 1035 section 4.2.2), both
// at once.
func writeMessage(w io.Writer, msg []byte) error {
	out := make([]byte, 2, 2+len(msg))
	binary.BigEndian.PutUint16(out, uint16(len(msg)))
	_, err := w.Write(append(out, msg...))
	return err
}

func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}
