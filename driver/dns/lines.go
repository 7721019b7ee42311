package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxLines is how many UDP sockets to Docker's resolver a sandbox has at most,
// however many queries are under way. Queries of different IDs share one, so
// that more than one is needed only for equal IDs, and while those before are
// waited on.
const maxLines = 8

// idleFor is how long sockets to Docker's resolver are kept without use.
const idleFor = 10 * time.Second

// errNoAnswer says that Docker's resolver was asked and has not answered.
var errNoAnswer = errors.New("Docker's resolver does not answer")

// lines are one sandbox's UDP sockets to Docker's resolver, whose answers they
// hand on as they are.
type lines struct {
	dial    func(ctx context.Context, network string) (net.Conn, error)
	timeout time.Duration  // for one query, all in all
	readers sync.WaitGroup // one for each line

	mu      sync.Mutex
	open    []*line       // guarded by mu
	waiters int           // guarded by mu: queries that wait for a line
	freed   chan struct{} // guarded by mu: closed when they may look again
}

// line is one socket. One that has been waited on in vain gets no more queries,
// so that a late answer meets nobody.
type line struct {
	conn    net.Conn
	asked   map[uint16]*pending // by the queries' IDs
	retired bool
	since   time.Time // of the last query
}

// pending is a query under way.
type pending struct {
	use  func([]byte) // the answer, which it must not keep
	done chan error   // gets one value, once use has returned or there is no answer
}

func newLines(dial func(context.Context, string) (net.Conn, error), timeout time.Duration) *lines {
	return &lines{dial: dial, timeout: timeout, freed: make(chan struct{})}
}

// ask asks and hands the answer to use, which must not keep it.
func (u *lines) ask(ctx context.Context, msg []byte, use func([]byte)) error {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	for {
		a := &pending{use: use, done: make(chan error, 1)}
		l, fresh, err := u.place(ctx, binary.BigEndian.Uint16(msg), a)
		if err != nil {
			return err
		}
		err = u.exchange(ctx, l, msg, a)
		// A socket whose port is gone belongs to a Docker that has started again.
		if err == nil || fresh || !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
	}
}

// exchange sends a query that has its place on the line, and waits.
func (u *lines) exchange(ctx context.Context, l *line, msg []byte, a *pending) error {
	if _, err := l.conn.Write(msg); err != nil {
		u.drop(l, err)
	}
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
		u.giveUp(l, binary.BigEndian.Uint16(msg), a)
		return <-a.done
	}
}

// place puts a query on a line that has none of its ID, and waits for one.
func (u *lines) place(ctx context.Context, id uint16, a *pending) (l *line, fresh bool, err error) {
	for {
		u.mu.Lock()
		l, fresh, err = u.lineLocked(ctx, id)
		if l != nil {
			l.asked[id], l.since = a, time.Now()
		}
		if l != nil || err != nil {
			u.mu.Unlock()
			return l, fresh, err
		}
		freed := u.freed
		u.waiters++
		u.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, false, fmt.Errorf("%w: %w", errNoAnswer, ctx.Err())
		}
	}
}

// lineLocked finds a line for the ID, or makes one; nil if there are too many.
func (u *lines) lineLocked(ctx context.Context, id uint16) (l *line, fresh bool, err error) {
	for _, l := range u.open {
		if !l.retired && l.asked[id] == nil {
			return l, false, nil
		}
	}
	if len(u.open) >= maxLines {
		return nil, false, nil
	}
	conn, err := u.dial(ctx, "udp4")
	if err != nil {
		return nil, false, err
	}
	l = &line{conn: conn, asked: map[uint16]*pending{}}
	u.open = append(u.open, l)
	u.readers.Go(func() { u.drop(l, receive(conn, func(answer []byte) { u.hand(l, answer) })) })
	return l, true, nil
}

// hand gives an answer to the query that it is for.
func (u *lines) hand(l *line, answer []byte) {
	id := binary.BigEndian.Uint16(answer)
	u.mu.Lock()
	a := l.asked[id]
	if a != nil {
		u.removeLocked(l, id)
	}
	u.mu.Unlock()
	if a != nil {
		a.use(answer)
		a.done <- nil
	}
}

// giveUp takes off a query that has waited in vain, unless its answer is there.
func (u *lines) giveUp(l *line, id uint16, a *pending) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.asked[id] != a {
		return
	}
	l.retired = true
	u.removeLocked(l, id)
	a.done <- errNoAnswer
}

func (u *lines) removeLocked(l *line, id uint16) {
	delete(l.asked, id)
	if l.retired && len(l.asked) == 0 {
		u.dropLocked(l, net.ErrClosed)
	}
	u.wakeLocked()
}

// wakeLocked wakes the queries that wait for a line.
func (u *lines) wakeLocked() {
	if u.waiters > 0 {
		close(u.freed)
		u.freed, u.waiters = make(chan struct{}), 0
	}
}

// drop closes a line that is no use any more. Queries that wait there get the error.
func (u *lines) drop(l *line, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dropLocked(l, err)
}

func (u *lines) dropLocked(l *line, err error) {
	i := slices.Index(u.open, l)
	if i < 0 {
		return
	}
	u.open = slices.Delete(u.open, i, i+1)
	_ = l.conn.Close()
	for id, a := range l.asked {
		delete(l.asked, id)
		a.done <- fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	u.wakeLocked()
}

// prune closes lines that have not been used since the time.
func (u *lines) prune(before time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, l := range slices.Clone(u.open) {
		if len(l.asked) == 0 && l.since.Before(before) {
			u.dropLocked(l, net.ErrClosed)
		}
	}
}

// close closes all lines, once nobody asks any more.
func (u *lines) close() {
	u.mu.Lock()
	for _, l := range slices.Clone(u.open) {
		u.dropLocked(l, net.ErrClosed)
	}
	u.mu.Unlock()
	u.readers.Wait()
}

// datagrams are for reading messages of any size.
var datagrams = sync.Pool{New: func() any { return new([tcpSize]byte) }}

// receive hands on all answers until the socket fails or is closed. A buffer is
// only taken once there is something to read: many may wait for a slow resolver.
func receive(conn net.Conn, use func([]byte)) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	for err == nil {
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
			case e == nil && n >= headerSize:
				use(buf[:n])
			}
			return true
		})
		err = errors.Join(err, failed)
	}
	return err
}
