package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/driver/push"
)

// wire is how one host is connected: to Consul and to the other hosts, from its own
// address. It counts what goes over it, loses datagrams, and may be cut.
type wire struct {
	from netip.Addr
	loss float64 // of 100 datagrams

	cut   atomic.Bool
	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu: to Consul

	counts
}

// counts are what has gone over a wire so far.
type counts struct {
	consulIn, consulOut atomic.Uint64 // bytes of TCP's payload: HTTP with its headers
	requests            atomic.Uint64 // that Consul has answered, or not
	writes              atomic.Uint64 // of them transactions
	sent, sentBytes     atomic.Uint64 // datagrams, and their payload
	heard, heardBytes   atomic.Uint64
}

func newWire(from netip.Addr, loss float64) *wire {
	return &wire{from: from, loss: loss, conns: map[net.Conn]bool{}}
}

var errCut = errors.New("the wire is cut")

// dial connects to Consul, see consul.Config.
func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.cut.Load() {
		return nil, errCut
	}
	dialer := net.Dialer{Timeout: 3 * time.Second, LocalAddr: &net.TCPAddr{IP: w.from.AsSlice()}}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &counted{Conn: conn, wire: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut.Load() {
		_ = conn.Close()
		return nil, errCut
	}
	w.conns[c] = true
	return c, nil
}

// asked counts a request, see consul.Config.
func (w *wire) asked(request string, _ time.Duration, _ error) {
	w.requests.Add(1)
	if request == "txn" {
		w.writes.Add(1)
	}
}

// listen opens the UDP side, see push.Config.
func (w *wire) listen(at netip.AddrPort) (push.PacketConn, error) {
	conn, err := push.ListenUDP(at)
	if err != nil {
		return nil, err
	}
	return datagrams{conn, w}, nil
}

// sever cuts the wire for good: nothing goes out any more.
func (w *wire) sever() {
	w.cut.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.conns {
		_ = conn.(*counted).Conn.Close()
	}
}

// counted is a connection to Consul.
type counted struct {
	net.Conn
	wire *wire
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.consulIn.Add(uint64(n)) //nolint:gosec // not below 0
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.wire.consulOut.Add(uint64(n)) //nolint:gosec // not below 0
	return n, err
}

func (c *counted) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}

// datagrams are the UDP side of direct messages.
type datagrams struct {
	push.PacketConn
	wire *wire
}

func (d datagrams) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := d.PacketConn.ReadFromUDPAddrPort(b)
	if err == nil {
		d.wire.heard.Add(1)
		d.wire.heardBytes.Add(uint64(n)) //nolint:gosec // not below 0
	}
	return n, from, err
}

// WriteToUDPAddrPort sends, or loses the datagram on its way.
func (d datagrams) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if d.wire.cut.Load() {
		return len(b), nil
	}
	d.wire.sent.Add(1)
	d.wire.sentBytes.Add(uint64(len(b)))
	if rand.Float64()*100 < d.wire.loss { //nolint:gosec // a simulation's
		return len(b), nil
	}
	return d.PacketConn.WriteToUDPAddrPort(b, to)
}
