package pulse

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// family is what differs between ICMP and ICMPv6.
type family struct {
	network        string
	request, reply byte // types of messages
	level, filter  int  // of the socket option that chooses types; a set bit is one that is not wanted
}

var (
	icmp   = family{network: "ip4:icmp", request: 8, reply: 0, level: unix.SOL_RAW, filter: 1}             // RFC 792, ICMP_FILTER of linux/icmp.h
	icmpv6 = family{network: "ip6:ipv6-icmp", request: 128, reply: 129, level: unix.SOL_ICMPV6, filter: 1} // RFC 4443, ICMPV6_FILTER of linux/icmpv6.h
)

// pinger sends echo requests from a namespace and hears the answers.
type pinger struct {
	family
	conn  *net.IPConn
	id    uint16
	magic uint64 // tells its own answers from those to other pingers with the same id
}

func newPinger(netns string, f family) (*pinger, error) {
	p := &pinger{family: f, id: uint16(rand.Uint32()), magic: rand.Uint64()} //nolint:gosec // any bits will do
	err := lab.Inside(netns, func() (err error) {
		p.conn, err = net.ListenIP(f.network, nil)
		return err
	})
	if err == nil {
		if err = p.widen(); err != nil {
			p.conn.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open a socket for pings: %w", err)
	}
	return p, nil
}

// widen sees to it that no answer is lost in this process's own socket when a
// busy machine lets it wait: it takes answers only, and minutes of them.
func (p *pinger) widen() error {
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return err
	}
	const room = 8 << 20
	types := bytes.Repeat([]byte{0xff}, 32)
	binary.NativeEndian.PutUint32(types[p.reply/32*4:], ^(uint32(1) << (p.reply % 32)))
	if p.family == icmp {
		types = types[:4]
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptString(int(fd), p.level, p.filter, string(types))
		if set == nil {
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room)
		}
	})
	return errors.Join(err, set)
}

// send sends the n-th request.
func (p *pinger) send(to netip.Addr, n uint64) error {
	b := make([]byte, 24)
	b[0] = p.request
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], uint16(n)) //nolint:gosec // it may turn, the payload has it whole
	binary.BigEndian.PutUint64(b[8:], p.magic)
	binary.BigEndian.PutUint64(b[16:], n)
	binary.BigEndian.PutUint16(b[2:], checksum(b)) // the kernel makes ICMPv6's
	_, err := p.conn.WriteToIP(b, &net.IPAddr{IP: to.AsSlice()})
	return err
}

// next waits for the next answer to any request, until the read deadline of the
// connection.
func (p *pinger) next() (n uint64, from netip.Addr, err error) {
	b := make([]byte, 1500)
	for {
		length, addr, err := p.conn.ReadFromIP(b)
		if err != nil {
			return 0, from, err
		}
		if length < 24 || b[0] != p.reply || binary.BigEndian.Uint16(b[4:]) != p.id || binary.BigEndian.Uint64(b[8:]) != p.magic {
			continue
		}
		from, _ = netip.AddrFromSlice(addr.IP)
		return binary.BigEndian.Uint64(b[16:]), from.Unmap(), nil
	}
}

// checksum is the Internet's (RFC 1071), of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum) //nolint:gosec // it has been folded
}

// Ping sends one echo request from the namespace to each IPv4 address, and returns
// those that have not answered within the limit.
func Ping(netns string, to []netip.Addr, limit time.Duration) ([]netip.Addr, error) {
	p, err := newPinger(netns, icmp)
	if err != nil {
		return nil, err
	}
	defer p.conn.Close()
	silent := map[netip.Addr]bool{}
	for i, a := range to {
		silent[a] = true
		_ = p.send(a, uint64(i)) // what could not be sent is not answered
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, fmt.Errorf("hear answers to pings: %w", err)
	}
	for len(silent) > 0 {
		_, from, err := p.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("hear answers to pings: %w", err)
		}
		delete(silent, from)
	}
	var out []netip.Addr
	for _, a := range to {
		if silent[a] {
			out = append(out, a)
		}
	}
	return out, nil
}

// late is how long an answer is waited for: what has none by then was lost.
const late = 3 * time.Second

// Pings are packets from a namespace to an address at a steady rate, each of
// which wants an answer.
type Pings struct {
	*pinger
	to    netip.Addr
	every time.Duration

	mu       sync.Mutex
	sent     []time.Time
	answered int
}

// NewPings opens the socket. Packets, one each time that every has passed, begin
// with Run.
func NewPings(netns string, to netip.Addr, every time.Duration) (*Pings, error) {
	f := icmp
	if to.Is6() {
		f = icmpv6
	}
	p, err := newPinger(netns, f)
	if err != nil {
		return nil, err
	}
	return &Pings{pinger: p, to: to, every: every}, nil
}

// Run pings until ctx ends, waits for the answers that are still to come, up to
// 3 s, and closes the socket.
func (p *Pings) Run(ctx context.Context) {
	var hearing sync.WaitGroup
	hearing.Go(p.hear)
	p.ask(ctx)
	for end := time.Now().Add(late); p.Lost() > 0 && time.Now().Before(end); {
		time.Sleep(every)
	}
	_ = p.conn.SetReadDeadline(time.Now())
	hearing.Wait()
	p.conn.Close()
}

func (p *Pings) ask(ctx context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	began := time.Now()
	for n := 0; ; {
		// A tick may be late; the rate stays.
		for ; time.Duration(n)*p.every <= time.Since(began); n++ {
			p.mu.Lock()
			p.sent = append(p.sent, time.Now())
			p.mu.Unlock()
			_ = p.send(p.to, uint64(n)) //nolint:gosec // not negative; what could not be sent is lost
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *Pings) hear() {
	heard := map[uint64]bool{}
	for {
		n, _, err := p.next()
		if err != nil {
			return // Run has set the end
		}
		p.mu.Lock()
		if n < uint64(len(p.sent)) && !heard[n] && time.Since(p.sent[n]) <= late {
			heard[n] = true
			p.answered++
		}
		p.mu.Unlock()
	}
}

// Sent is how many packets have been sent so far.
func (p *Pings) Sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent)
}

// Lost is how many of them have no answer yet; once Run has returned, those that
// were not answered within 3 s.
func (p *Pings) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent) - p.answered
}
