package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a server with sandboxes that are plain sockets on loopback, and a
// resolver of Docker's that the test speaks for.
type scene struct {
	tb      testing.TB
	server  *Server
	changes chan struct{}
	stop    func()

	mu       sync.Mutex
	snapshot overlay.Snapshot
	boxes    map[string]*box
	absent   map[string]bool // sandboxes that are not there
	outcomes map[Outcome]int
	far      []io.Closer                             // ends of Docker's resolver
	docker   func(network string, msg []byte) []byte // nil answer: silence
	refuse   atomic.Bool                             // Docker's resolver is not there
}

// box is a sandbox.
type box struct {
	*scene
	udp         *net.UDPConn
	tcp         net.Listener
	intercepted atomic.Int32
	released    atomic.Bool
	moved       atomic.Bool
	dials       atomic.Int32
	open, most  atomic.Int32 // sockets to Docker's resolver: now, and at once so far
	standIn     [][]byte     // guarded by mu
}

// counted is a socket to Docker's resolver that is counted while it is open.
type counted struct {
	net.Conn
	closed func()
}

func (c counted) SyscallConn() (syscall.RawConn, error) { return c.Conn.(syscall.Conn).SyscallConn() }

func (c counted) Close() error { c.closed(); return c.Conn.Close() }

func (b *box) tally(c net.Conn) net.Conn {
	n := b.open.Add(1)
	for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); most = b.most.Load() {
	}
	return counted{c, sync.OnceFunc(func() { b.open.Add(-1) })}
}

func newScene(tb testing.TB) *scene {
	tb.Helper()
	s := &scene{
		tb: tb, changes: make(chan struct{}, 1), boxes: map[string]*box{}, absent: map[string]bool{}, outcomes: map[Outcome]int{},
		docker: func(_ string, msg []byte) []byte { return append([]byte{msg[0], msg[1], 0x81, 0x83}, msg[4:]...) },
		snapshot: overlay.Snapshot{
			Networks: map[string]overlay.Network{"n1": {ID: "n1", Name: "net1"}, "n2": {ID: "n2", Name: "net2"}},
			Peers:    map[string][]overlay.Attachment{},
			Hosts:    map[string]overlay.Host{"h2": {Name: "h2"}},
		},
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	s.server = New(Config{
		Snapshot: func() overlay.Snapshot { s.mu.Lock(); defer s.mu.Unlock(); return s.snapshot },
		Changes:  func() (<-chan struct{}, func()) { return s.changes, func() {} },
		Open:     s.open, Log: log, Timeout: 300 * time.Millisecond, Renew: 20 * time.Millisecond,
		Observe: func(o Outcome, _ time.Duration) { s.mu.Lock(); s.outcomes[o]++; s.mu.Unlock() },
	})
	return s
}

func (s *scene) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.server.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.tb.Error(err)
		}
		for _, c := range s.far {
			c.Close()
		}
	})
	s.tb.Cleanup(s.stop)
}

func (s *scene) open(_ context.Context, path string) (Sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.absent[path] {
		return nil, fmt.Errorf("sandbox %s: %w", path, fs.ErrNotExist)
	}
	if old := s.boxes[path]; old != nil && !old.released.Load() {
		return nil, errors.New("it is open already")
	}
	b := &box{scene: s}
	var err error
	if b.udp, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return nil, err
	}
	if b.tcp, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.boxes[path] = b
	return b, nil
}

func (b *box) UDP() *net.UDPConn             { return b.udp }
func (b *box) TCP() net.Listener             { return b.tcp }
func (b *box) Intercept(time.Duration) error { b.intercepted.Add(1); return nil }
func (b *box) StandIn(names [][]byte, _ time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.standIn = names
	return nil
}
func (b *box) Current() bool  { return !b.moved.Load() }
func (b *box) Release() error { b.released.Store(true); return nil }
func (b *box) Close() error   { return errors.Join(b.udp.Close(), b.tcp.Close()) }

// Dial makes a resolver of Docker's for one connection.
func (b *box) Dial(ctx context.Context, network string) (net.Conn, error) {
	b.dials.Add(1)
	if b.refuse.Load() {
		return nil, errors.New("connection refused")
	}
	if network == "tcp4" {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return nil, err
		}
		far, err := l.Accept()
		go b.serve(far, func() ([]byte, error) { return readMessage(far) }, func(out []byte) { _ = writeMessage(far, out) }, network)
		return b.tally(c), err
	}
	far, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.far = append(b.far, far)
	b.mu.Unlock()
	c, err := net.DialUDP("udp4", nil, far.LocalAddr().(*net.UDPAddr))
	go b.serve(far, func() ([]byte, error) {
		buf := make([]byte, tcpSize)
		n, err := far.Read(buf)
		return buf[:n], err
	}, func(out []byte) { _, _ = far.WriteTo(out, c.LocalAddr()) }, network)
	return b.tally(c), err
}

func (b *box) serve(c io.Closer, read func() ([]byte, error), write func([]byte), network string) {
	defer c.Close()
	for {
		msg, err := read()
		if err != nil {
			return
		}
		if out := b.docker(network, msg); out != nil {
			write(out)
		}
	}
}

// join puts an endpoint into a sandbox of this host.
func (s *scene) join(network, name, sandbox string, addr ...string) {
	s.change(func(o *overlay.Snapshot) {
		o.Local = append(slices.Clip(o.Local), overlay.Endpoint{
			ID: "e-" + name + network, Network: network, Name: name, Phase: overlay.Joined, Sandbox: sandbox, Addrs: addrs(addr...),
		})
	})
}

func (s *scene) change(f func(*overlay.Snapshot)) {
	s.mu.Lock()
	f(&s.snapshot)
	s.mu.Unlock()
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// box waits until names are answered in the sandbox.
func (s *scene) box(path string) *box {
	s.tb.Helper()
	var b *box
	s.eventually(path+" is answered", func() bool {
		s.mu.Lock()
		b = s.boxes[path]
		s.mu.Unlock()
		return b != nil && !b.released.Load() && b.intercepted.Load() > 0
	})
	return b
}

func (s *scene) eventually(what string, f func() bool) {
	s.tb.Helper()
	for end := time.Now().Add(5 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.tb.Fatalf("not within 5 s: %s", what)
		}
	}
}

func (s *scene) count(o Outcome) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcomes[o]
}

// exchange sends a message as a container does and gives the bytes that come back.
func (b *box) exchange(network string, msg []byte) ([]byte, error) {
	addr := b.udp.LocalAddr().String()
	if network == "tcp4" {
		addr = b.tcp.Addr().String()
	}
	c, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if network == "tcp4" {
		if err := writeMessage(c, msg); err != nil {
			return nil, err
		}
		return readMessage(c)
	}
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, tcpSize)
	n, err := c.Read(buf)
	return buf[:n], err
}

func (b *box) ask(network, name string, qtype uint16) *dns.Msg {
	b.tb.Helper()
	out, err := b.exchange(network, query(b.tb, name, qtype))
	if err != nil {
		b.tb.Fatalf("%s %s: %v", network, name, err)
	}
	var m dns.Msg
	if err := m.Unpack(out); err != nil {
		b.tb.Fatalf("%s %s: %v", network, name, err)
	}
	return &m
}

var transports = []string{"udp4", "tcp4"}

func TestNamesOfAllHostsInTheContainersNetworksOnly(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.join("n2", "two", "/sb/two", "203.0.113.2")
	s.join("n1", "both", "/sb/both", "192.0.2.3")
	s.join("n2", "both", "/sb/both", "203.0.113.3")
	s.change(func(o *overlay.Snapshot) {
		o.Peers["n1"] = []overlay.Attachment{
			{Network: "n1", Host: "h2", Endpoints: []overlay.PeerEndpoint{
				{ID: "p1", Name: "far", Addrs: addrs("192.0.2.9")},
				{ID: "p2", Name: "db1", Names: []string{"db1", "db"}, Addrs: addrs("192.0.2.10")},
			}},
			{Network: "n1", Host: "dead", Endpoints: []overlay.PeerEndpoint{{ID: "p3", Name: "db2", Names: []string{"db2", "db"}, Addrs: addrs("192.0.2.11")}}},
			{Network: "n1", Host: "silent", Endpoints: []overlay.PeerEndpoint{{ID: "p4", Name: "db3", Addrs: addrs("192.0.2.12")}}},
		}
		o.Hosts["silent"], o.Silent = overlay.Host{Name: "silent"}, map[string]bool{"silent": true}
	})
	s.start()
	for _, c := range []struct{ sandbox, name, want string }{
		{"/sb/one", "far.", "192.0.2.9"},
		{"/sb/one", "db.", "192.0.2.10"},
		{"/sb/one", "db1.net1.", "192.0.2.10"},
		{"/sb/one", "db2.", "none"},
		{"/sb/one", "db3.", "none"},
		{"/sb/one", "one.", "192.0.2.1"},
		{"/sb/one", "both.", "192.0.2.3"},
		{"/sb/one", "both.net2.", "none"},
		{"/sb/one", "two.", "none"},
		{"/sb/two", "two.", "203.0.113.2"},
		{"/sb/two", "far.", "none"},
		{"/sb/two", "one.net1.", "none"},
		{"/sb/both", "one.", "192.0.2.1"},
		{"/sb/both", "two.", "203.0.113.2"},
		{"/sb/both", "both.net2.", "203.0.113.3"},
	} {
		for _, network := range transports {
			m := s.box(c.sandbox).ask(network, c.name, dns.TypeA)
			if got := data(m); got != c.want || (c.want == "none") != (m.Rcode == dns.RcodeNameError) {
				t.Errorf("%s in %s over %s: %s %s, want %s", c.name, c.sandbox, network, got, dns.RcodeToString[m.Rcode], c.want)
			}
		}
	}
}

func TestChangesAreFollowed(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.absent["/sb/late"] = true
	s.start()
	one := s.box("/sb/one")
	s.join("n1", "late", "/sb/late", "192.0.2.2")
	s.eventually("the new name", func() bool { return data(one.ask("udp4", "late.", dns.TypeA)) == "192.0.2.2" })
	if st := s.server.Status(); st != (Status{Sandboxes: 2, Answering: 1}) {
		t.Errorf("status %+v", st)
	}

	s.mu.Lock()
	delete(s.absent, "/sb/late") // Docker makes it only now
	s.mu.Unlock()
	late := s.box("/sb/late")

	s.change(func(o *overlay.Snapshot) { o.Local = o.Local[:1:1] })
	s.eventually("the sandbox is left", late.released.Load)
	s.eventually("the name is withdrawn", func() bool { return data(one.ask("udp4", "late.", dns.TypeA)) == "none" })

	s.join("n1", "late", "/sb/late", "192.0.2.3") // again into the same sandbox
	if again := s.box("/sb/late"); again == late {
		t.Error("the sandbox was not opened again")
	}

	one.moved.Store(true) // another sandbox under the old path
	s.eventually("the new one is opened", func() bool { return s.box("/sb/one") != one })
}

func TestStopGivesTheSandboxesBack(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.start()
	one := s.box("/sb/one")
	s.eventually("the interception is renewed", func() bool { return one.intercepted.Load() > 3 })
	s.stop()
	if !one.released.Load() {
		t.Error("the interception stays")
	}
	if _, err := one.exchange("tcp4", query(t, "one.", dns.TypeA)); err == nil {
		t.Error("it still answers")
	}
}

func TestStopLetsQueriesUnderWayBeAnswered(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	asked, answer := make(chan struct{}, 2), s.docker
	s.docker = func(network string, msg []byte) []byte {
		asked <- struct{}{}
		time.Sleep(100 * time.Millisecond)
		return answer(network, msg)
	}
	s.start()
	one := s.box("/sb/one")
	for _, network := range transports {
		go func() {
			<-asked
			s.stop()
		}()
		if m := one.ask(network, "example.com.", dns.TypeA); m.Rcode != dns.RcodeNameError {
			t.Errorf("%s: %v", network, m)
		}
		s.stop()
		s.server = New(s.server.cfg)
		s.start()
		one = s.box("/sb/one")
	}
}

func TestForwardedBytesAreUnchanged(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	var seen atomic.Pointer[[]byte]
	big := bytes.Repeat([]byte("x"), 60000)
	s.docker = func(_ string, msg []byte) []byte {
		seen.Store(&msg)
		return append(msg[:2:2], big...) // nothing that could be unpacked
	}
	s.start()
	one := s.box("/sb/one")
	msg := append(query(t, "wWw.Example.", dns.TypeTXT, func(m *dns.Msg) { m.SetEdns0(4096, true) }), "and more"...)
	for _, network := range transports {
		out, err := one.exchange(network, msg)
		if err != nil {
			t.Fatal(network, err)
		}
		if got := *seen.Load(); !bytes.Equal(got, msg) {
			t.Errorf("%s: Docker sees %q", network, got)
		}
		if !bytes.Equal(out[2:], big) || out[0] != msg[0] || out[1] != msg[1] {
			t.Errorf("%s: %d bytes come back", network, len(out))
		}
	}
}

func TestSocketsToDockerAreUsedAgainUnlessWaitedForInVain(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	var silent atomic.Bool
	answer := s.docker
	s.docker = func(network string, msg []byte) []byte {
		if silent.Load() {
			return nil
		}
		return answer(network, msg)
	}
	s.start()
	one := s.box("/sb/one")
	for range 10 {
		one.ask("udp4", "example.com.", dns.TypeA)
	}
	before := one.dials.Load()
	if before > 3 { // the client may be faster than the socket is put back
		t.Errorf("%d sockets for 10 queries in a row", before)
	}
	silent.Store(true)
	began := time.Now()
	for _, network := range transports {
		if m := one.ask(network, "example.com.", dns.TypeA); m.Rcode != dns.RcodeServerFailure || len(m.Question) != 1 {
			t.Errorf("a silent resolver over %s: %v", network, m)
		}
	}
	if took := time.Since(began); took < 600*time.Millisecond || took > 2*time.Second {
		t.Errorf("gave up after %v", took)
	}
	silent.Store(false)
	one.ask("udp4", "example.com.", dns.TypeA)
	if n := one.dials.Load() - before; n < 1 {
		t.Errorf("%d new sockets after silence", n)
	}
	s.refuse.Store(true)
	if m := one.ask("tcp4", "example.com.", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("no resolver: %v", m)
	}
}

func TestBadInputIsRefusedOrIgnored(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.start()
	one := s.box("/sb/one")
	two := query(t, "one.", dns.TypeA, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })
	for name, msg := range map[string][]byte{"two questions": two, "too long for UDP": append(query(t, "one.", dns.TypeA), make([]byte, maxQuery)...)} {
		out, err := one.exchange("udp4", msg)
		var m dns.Msg
		if err != nil || m.Unpack(out) != nil || m.Rcode != dns.RcodeFormatError {
			t.Errorf("%s: %x %v", name, out, err)
		}
	}
	huge := append(query(t, "example.com.", dns.TypeA), make([]byte, tcpSize)...)[:tcpSize]
	if out, err := one.exchange("tcp4", huge); err != nil || out[3]&15 != dns.RcodeNameError {
		t.Errorf("64 KB over TCP: %v", err)
	}
	for _, msg := range [][]byte{nil, {1}, header()[:11], query(t, "one.", dns.TypeA, func(m *dns.Msg) { m.Response = true })} {
		if out, err := one.exchange("tcp4", msg); err == nil {
			t.Errorf("%x is answered by %x", msg, out)
		}
	}
	if data(one.ask("udp4", "one.", dns.TypeA)) != "192.0.2.1" {
		t.Error("nobody answers any more")
	}
}

func TestOneConnectionCarriesManyQueries(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.start()
	one := s.box("/sb/one")
	c, err := net.Dial("tcp4", one.tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	names := []string{"one.", "example.com.", "one.net1.", "example.org."}
	for i, name := range names { // all at once
		msg := query(t, name, dns.TypeA)
		binary.BigEndian.PutUint16(msg, uint16(i))
		if err := writeMessage(c, msg); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names {
		out, err := readMessage(c)
		if err != nil || int(binary.BigEndian.Uint16(out)) != i || strings.HasPrefix(name, "one") != (out[3]&15 == 0) {
			t.Errorf("answer %d: %x %v", i, out, err)
		}
	}
	if n := one.dials.Load(); n != 1 {
		t.Errorf("%d connections to Docker's resolver", n)
	}
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.join("n1", "two", "/sb/two", "192.0.2.2")
	s.start()
	one := s.box("/sb/one")
	var idle []net.Conn
	for range maxStreams + 5 {
		c, err := net.Dial("tcp4", one.tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte{0xff}) // half a length, and no more
		idle = append(idle, c)
	}
	s.eventually("5 are turned away", func() bool { return s.count(Dropped) == 5 })
	if data(one.ask("udp4", "one.", dns.TypeA)) != "192.0.2.1" || data(s.box("/sb/two").ask("tcp4", "two.", dns.TypeA)) != "192.0.2.2" {
		t.Error("others are not answered")
	}
	idle[0].Close()
	s.eventually("a free place", func() bool {
		out, err := one.exchange("tcp4", query(t, "one.", dns.TypeA))
		return err == nil && len(out) > 0
	})
}

func TestFloodOfOneSandboxLeavesTheOthersTheirs(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.join("n1", "two", "/sb/two", "192.0.2.2")
	s.docker = func(string, []byte) []byte { return nil } // the slowest there is
	s.server.cfg.Timeout = 5 * time.Second
	s.start()
	one, two := s.box("/sb/one"), s.box("/sb/two")
	c, err := net.Dial("udp4", one.udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range maxForwarded + maxWaiting + 200 {
		msg := query(t, "example.com.", dns.TypeA)
		binary.BigEndian.PutUint16(msg, uint16(i))
		_, _ = c.Write(msg)
		if i%50 == 0 {
			time.Sleep(2 * time.Millisecond) // within the socket's buffer
		}
	}
	s.eventually("some are turned away", func() bool { return s.count(Dropped) > 0 })
	if n := one.dials.Load(); n > 8 {
		t.Errorf("%d sockets for one sandbox", n)
	}
	for _, b := range []*box{one, two} {
		began := time.Now()
		if data(b.ask("udp4", "two.", dns.TypeA)) != "192.0.2.2" || time.Since(began) > time.Second {
			t.Errorf("a name of weft's was not answered, or after %v", time.Since(began))
		}
	}
	s.stop() // does not wait for the queries under way
}

// flood has a socket of the sandbox send n queries for the name, as fast as it can.
func (b *box) flood(name string, n int) {
	b.tb.Helper()
	c, err := net.Dial("udp4", b.udp.LocalAddr().String())
	if err != nil {
		b.tb.Fatal(err)
	}
	b.mu.Lock()
	b.far = append(b.far, c)
	b.mu.Unlock()
	msg := query(b.tb, name, dns.TypeA)
	for i := range n {
		binary.BigEndian.PutUint16(msg, uint16(i))
		_, _ = c.Write(msg)
	}
}

func TestWhatASandboxAsksIsBounded(t *testing.T) {
	const perSecond, queries = 100, 20_000
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.join("n1", "two", "/sb/two", "192.0.2.2")
	s.server.cfg.Rate = perSecond
	var unread atomic.Int64
	s.server.cfg.Unread = func(n uint32) { unread.Add(int64(n)) }
	s.start()
	one, two := s.box("/sb/one"), s.box("/sb/two")
	began := time.Now()
	one.flood("one.", queries)
	for range 10 {
		asked := time.Now()
		if data(two.ask("udp4", "two.", dns.TypeA)) != "192.0.2.2" || time.Since(asked) > time.Second {
			t.Errorf("another sandbox was not answered, or after %v", time.Since(asked))
		}
	}
	sent := queries
	s.eventually("what was not read is counted", func() bool {
		one.flood("one.", 1) // with those that find room again the kernel tells
		sent++
		time.Sleep(50 * time.Millisecond)
		return unread.Load() > 0
	})
	most := perSecond + int(time.Since(began).Seconds()*perSecond) + batch + 10
	if n := s.count(Answered); n > most {
		t.Errorf("%d of %d queries were read within %v", n, sent, time.Since(began))
	}
	if n := s.count(Answered) - 10 + int(unread.Load()); n > sent {
		t.Errorf("%d queries are counted, there were %d", n, sent)
	}
	s.eventually("it is answered again", func() bool {
		out, err := one.exchange("tcp4", query(t, "one.", dns.TypeA))
		return err == nil && len(out) > 0
	})
}

// Connections, and the queries on one, are paid for as datagrams are.
func TestConnectionsAreBounded(t *testing.T) {
	const perSecond = 100
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.server.cfg.Rate = perSecond
	s.start()
	one := s.box("/sb/one")
	c, err := net.Dial("tcp4", one.tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began, msg := time.Now(), query(t, "one.", dns.TypeA)
	const queries = 3 * perSecond
	for range queries {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if err := writeMessage(c, msg); err != nil {
			t.Fatal(err)
		}
		if _, err := readMessage(c); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("%d queries were answered within %v", queries, took)
	}
}

// A flood of queries for Docker's resolver, by both transports and with a
// resolver that is silent, opens no more sockets than a sandbox may have.
func TestSocketsToDockerAreFew(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.docker = func(string, []byte) []byte { return nil }
	s.server.cfg.Timeout = 200 * time.Millisecond
	s.start()
	one := s.box("/sb/one")
	var streams sync.WaitGroup
	for range maxStreams {
		streams.Go(func() { _, _ = one.exchange("tcp4", query(t, "example.com.", dns.TypeA)) })
	}
	for range 5 {
		one.flood("example.com.", 200)
		streams.Go(func() { one.flood("example.com.", 200) }) // of the same IDs
		time.Sleep(100 * time.Millisecond)
	}
	streams.Wait()
	if n := one.most.Load(); n > 8+8 {
		t.Errorf("%d sockets to Docker's resolver at once", n)
	}
	s.eventually("they are closed once nobody waits", func() bool { return one.open.Load() == 0 })
}

// An answer that comes when nobody waits any more is not taken for one to a
// later query of the same ID.
func TestALateAnswerMeetsNobody(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	late := make(chan struct{})
	var first atomic.Bool
	answer := s.docker
	s.docker = func(network string, msg []byte) []byte {
		if first.CompareAndSwap(false, true) {
			<-late
			return append(answer(network, msg), "late"...)
		}
		<-late
		time.Sleep(50 * time.Millisecond) // the late one is there before
		return answer(network, msg)
	}
	s.server.cfg.Timeout = 100 * time.Millisecond
	s.start()
	one := s.box("/sb/one")
	msg := query(t, "example.com.", dns.TypeA)
	if out, err := one.exchange("udp4", msg); err != nil || out[3]&15 != dns.RcodeServerFailure {
		t.Fatalf("a silent resolver: %x %v", out, err)
	}
	close(late)
	out, err := one.exchange("udp4", msg)
	if err != nil || bytes.HasSuffix(out, []byte("late")) || out[3]&15 != dns.RcodeNameError {
		t.Errorf("the next query of the ID: %x %v", out, err)
	}
}

func TestZonesAreKeptWhileTheirRecordsStay(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.join("n2", "two", "/sb/one", "203.0.113.1")
	before := s.server.views(s.snapshot)["/sb/one"]
	s.join("n2", "three", "/sb/three", "203.0.113.3")
	after := s.server.views(s.snapshot)["/sb/one"]
	if before[0] != after[0] || before[1] == after[1] {
		t.Errorf("zones before %v, after %v", before, after)
	}
	s.snapshot.Networks = map[string]overlay.Network{"n1": {ID: "n1", Name: "a-new-name"}, "n2": {ID: "n2", Name: "net2"}}
	if renamed := s.server.views(s.snapshot)["/sb/one"]; renamed[0] == after[0] || renamed[0].Network != "a-new-name" {
		t.Errorf("a renamed network: %v", renamed)
	}
}

// BenchmarkUDP is one client that asks one query after the other.
func BenchmarkUDP(b *testing.B) {
	s := newScene(b)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	s.start()
	one := s.box("/sb/one")
	for name, q := range map[string]string{"answered": "one.", "forwarded": "example.com."} {
		b.Run(name, func(b *testing.B) {
			c, err := net.DialUDP("udp4", nil, one.udp.LocalAddr().(*net.UDPAddr))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			msg, buf := query(b, q, dns.TypeA), make([]byte, 512)
			for b.Loop() {
				_, _ = c.Write(msg)
				if _, err := c.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
		})
	}
}
