package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spareSockets is how many sockets to Docker's resolver a sandbox keeps, and
// for how long. One that has been waited on in vain is never used again, so
// that a late answer meets nobody.
const (
	spareSockets = 4
	spareFor     = 10 * time.Second
)

// errNoAnswer says that Docker's resolver was asked and has not answered.
var errNoAnswer = errors.New("Docker's resolver does not answer")

// upstream is one sandbox's way to Docker's resolver, whose answers it hands
// on as they are.
type upstream struct {
	dial    func(ctx context.Context, network string) (net.Conn, error)
	timeout time.Duration // for one query, all in all

	mu    sync.Mutex
	spare []spare // guarded by mu; the latest is last
}

type spare struct {
	conn  net.Conn
	since time.Time
}

// datagrams are for reading messages of any size.
var datagrams = sync.Pool{New: func() any { return new([tcpSize]byte) }}

// udp asks by UDP and hands the answer to use, which must not keep it.
func (u *upstream) udp(ctx context.Context, msg []byte, use func([]byte)) error {
	deadline := time.Now().Add(u.timeout)
	conn, used := u.take()
	if used {
		err := u.exchange(ctx, conn, deadline, msg, use)
		// A socket whose port is gone belongs to a Docker that has started again.
		if !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := u.dial(ctx, "udp4")
	if err != nil {
		return err
	}
	return u.exchange(ctx, conn, deadline, msg, use)
}

// exchange sends, waits and keeps the socket if all went well.
func (u *upstream) exchange(ctx context.Context, conn net.Conn, deadline time.Time, msg []byte, use func([]byte)) error {
	if err := conn.SetDeadline(deadline); err != nil {
		return errors.Join(err, conn.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // in the past
	_, err := conn.Write(msg)
	if err == nil {
		err = receive(conn, msg, use)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	u.keep(conn)
	return nil
}

// receive reads until it has the answer to msg. A buffer is only taken once
// there is something to read: many may wait for a slow resolver.
func receive(conn net.Conn, msg []byte, use func([]byte)) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	for done := false; !done && err == nil; {
		var failed error
		err = raw.Read(func(fd uintptr) bool {
			buf := datagrams.Get().(*[tcpSize]byte)
			defer datagrams.Put(buf)
			n, _, e := unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT)
			switch {
			case errors.Is(e, unix.EAGAIN):
				return false
			case e != nil && !errors.Is(e, unix.EINTR):
				failed = e
			case e == nil && n >= headerSize && buf[0] == msg[0] && buf[1] == msg[1]:
				use(buf[:n])
				done = true
			}
			return true
		})
		err = errors.Join(err, failed)
	}
	return err
}

func (u *upstream) take() (net.Conn, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.spare)
	if n == 0 {
		return nil, false
	}
	conn := u.spare[n-1].conn
	u.spare = u.spare[:n-1]
	return conn, true
}

func (u *upstream) keep(conn net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.spare) == spareSockets {
		conn.Close()
		return
	}
	u.spare = append(u.spare, spare{conn, time.Now()})
}

// prune closes sockets that have not been used since the time.
func (u *upstream) prune(before time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.spare) > 0 && u.spare[0].since.Before(before) {
		u.spare[0].conn.Close()
		u.spare = u.spare[1:]
	}
	if len(u.spare) == 0 {
		u.spare = nil
	}
}

// stream is a connection to Docker's resolver beside one of a client's.
type stream struct {
	*upstream
	conn net.Conn // nil until needed
}

// ask sends one query and gives the answer. The client has one query under way
// at a time, so the next message is the answer.
func (s *stream) ask(ctx context.Context, msg []byte) ([]byte, error) {
	deadline := time.Now().Add(s.timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for {
		fresh := s.conn == nil
		if fresh {
			conn, err := s.dial(ctx, "tcp4")
			if err != nil {
				return nil, err
			}
			s.conn = conn
		}
		answer, err := s.exchange(ctx, deadline, msg)
		if err == nil {
			return answer, nil
		}
		s.close()
		// The resolver may have closed a connection that it found idle.
		if fresh || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
		}
	}
}

func (s *stream) exchange(ctx context.Context, deadline time.Time, msg []byte) ([]byte, error) {
	conn := s.conn
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := writeMessage(conn, msg); err != nil {
		return nil, err
	}
	return readMessage(conn)
}

func (s *stream) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
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
