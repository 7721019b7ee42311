package pulse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// stream is a TCP connection on which a numbered message goes every 10 ms, and
// comes back.
type stream struct {
	client, server net.Conn

	mu     sync.Mutex
	last   time.Time // when an answer came
	stall  time.Duration
	broken error
}

// newStream connects two namespaces; the second has the address.
func newStream(ctx context.Context, from, to string, address netip.Addr) (*stream, error) {
	var l net.Listener
	err := lab.Inside(to, func() (err error) {
		l, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: address.AsSlice()})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", address, err)
	}
	defer l.Close()
	s := &stream{}
	err = lab.Inside(from, func() (err error) {
		d := net.Dialer{FallbackDelay: -1, Timeout: 5 * time.Second, KeepAlive: -1}
		s.client, err = d.DialContext(ctx, "tcp4", l.Addr().String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", l.Addr(), err)
	}
	if s.server, err = l.Accept(); err != nil {
		s.client.Close()
		return nil, fmt.Errorf("accept at %s: %w", address, err)
	}
	return s, nil
}

// run sends and hears until ctx ends.
func (s *stream) run(ctx context.Context) {
	s.last = time.Now()
	var all sync.WaitGroup
	all.Go(func() { _, _ = io.Copy(s.server, s.server) }) // ends with the connection
	all.Go(s.hear)
	tick := time.NewTicker(every)
	defer tick.Stop()
	b := make([]byte, 8)
	for n := uint64(0); ; n++ {
		binary.BigEndian.PutUint64(b, n)
		if _, err := s.client.Write(b); err != nil {
			s.fail(err)
			break
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	<-ctx.Done()
	s.fail(errEnded) // what happens from now on is no fault
	s.client.Close()
	s.server.Close()
	all.Wait()
}

var errEnded = errors.New("ended")

func (s *stream) hear() {
	b := make([]byte, 8)
	for want := uint64(0); ; want++ {
		_, err := io.ReadFull(s.client, b)
		if err == nil && binary.BigEndian.Uint64(b) != want {
			err = fmt.Errorf("answer %d came in the place of %d", binary.BigEndian.Uint64(b), want)
		}
		if err != nil {
			s.fail(err)
			return
		}
		s.mu.Lock()
		if s.broken == nil {
			s.stall, s.last = max(s.stall, time.Since(s.last)), time.Now()
		}
		s.mu.Unlock()
	}
}

// fail ends the measurement. The first reason counts.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.stall, s.broken = max(s.stall, time.Since(s.last)), err
	}
}

// result is the longest time without an answer, and why the connection broke.
func (s *stream) result() (stall time.Duration, broken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.broken, errEnded) {
		return s.stall, ""
	}
	return s.stall, s.broken.Error()
}
