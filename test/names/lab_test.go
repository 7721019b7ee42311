package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// cluster is the lab that the tests share. Each test uses networks of its own.
var cluster *lab.Lab

func TestMain(m *testing.M) {
	const world = "198.51.100.11" // h1's address on the underlay
	os.Exit(lab.Main(lab.Config{
		Name: "names", Hosts: 2,
		WeftArgs: []string{"--log-level=debug"}, DockerdArgs: []string{"--live-restore", "--dns=" + world},
	}, func(_ context.Context, l *lab.Lab) int {
		cluster = l
		stop, err := serveWorld(world)
		if err != nil {
			fmt.Fprintln(os.Stderr, "start a nameserver:", err)
			return 1
		}
		defer stop()
		return m.Run()
	}))
}

// docker runs a docker command that must succeed.
var docker = labtest.DockerOn(&cluster)

// network makes a network on h1 and waits until h2 has it.
func network(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	tb.Cleanup(func() { labtest.Gone(tb, 10*time.Second, name, cluster.Host("h2")) })
	labtest.Network(tb, cluster.Host("h1"), name, args...)
	labtest.Mirrored(tb, 5*time.Second, name, cluster.Host("h2"))
	return name
}

// box is a running container.
type box struct {
	labtest.Box
	tb         testing.TB
	host, name string
	netns      string
}

// start starts a busybox that idles, and removes it after the test. Without a
// network in args it has Docker's default.
func start(tb testing.TB, host, name string, args ...string) box {
	tb.Helper()
	b := box{Box: labtest.Start(tb, cluster.Host(host), "", name, args...), tb: tb, host: host, name: name}
	path, err := cluster.Host(host).ContainerNetns(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	b.netns = path
	return b
}

// ip is the container's address in a network.
func (b box) ip(network string) string {
	b.tb.Helper()
	b.Network = network
	return b.Address("IPAddress")
}

// dial connects to the container's resolver as the container does.
func (b box) dial(network string) net.Conn {
	b.tb.Helper()
	return b.dialMarked(network, 0)
}

// dialMarked with the mark 0x77 meets Docker's resolver.
func (b box) dialMarked(network string, mark int) net.Conn {
	b.tb.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
	}}
	var c net.Conn
	if err := lab.Inside(b.netns, func() (err error) {
		c, err = d.DialContext(context.WithoutCancel(b.tb.Context()), network, "127.0.0.11:53")
		return err
	}); err != nil {
		b.tb.Fatalf("reach the resolver of %s: %v", b.name, err)
	}
	return c
}

// resolve asks one query over UDP, and says what came: the addresses or targets
// in a row, or the code of the failure.
func (b box) resolve(name string, qtype uint16) string {
	b.tb.Helper()
	c := b.dial("udp4")
	defer c.Close()
	return ask(c, name, qtype, 6*time.Second)
}

func ask(c net.Conn, name string, qtype uint16, limit time.Duration) string {
	conn := &dns.Conn{Conn: c}
	_ = c.SetDeadline(time.Now().Add(limit))
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)); err != nil {
		return err.Error()
	}
	m, err := conn.ReadMsg()
	switch {
	case err != nil:
		return err.Error()
	case m.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[m.Rcode]
	case len(m.Answer) == 0:
		return "no data"
	}
	var out []string
	for _, rr := range m.Answer {
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// finds checks one name, which must be right at the first query.
func (b box) finds(name string, qtype uint16, want string) {
	b.tb.Helper()
	if got := b.resolve(name, qtype); got != want {
		b.tb.Errorf("%s in %s on %s: %s, want %s", name, b.name, b.host, got, want)
	}
}

// soon waits until the name is as wanted.
func (b box) soon(limit time.Duration, name string, qtype uint16, want string) {
	b.tb.Helper()
	eventually(b.tb, limit, fmt.Sprintf("%s in %s on %s is %s", name, b.name, b.host, want), func() error {
		if got := b.resolve(name, qtype); got != want {
			return errors.New(got)
		}
		return nil
	})
}

// eventually waits for what other processes bring about.
var eventually = labtest.Eventually

// answer is what the nameserver out in the world says; NXDOMAIN if nil.
var answer atomic.Pointer[dns.HandlerFunc]

// serveWorld runs the nameserver that every container's Docker asks.
func serveWorld(addr string) (stop func(), err error) {
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		if f := answer.Load(); f != nil {
			(*f)(w, m)
			return
		}
		_ = w.WriteMsg(new(dns.Msg).SetRcode(m, dns.RcodeNameError))
	})
	var udp net.PacketConn
	var tcp net.Listener
	err = lab.Inside(cluster.Host("h1").Netns(), func() (err error) {
		if udp, err = net.ListenPacket("udp4", addr+":53"); err == nil {
			tcp, err = net.Listen("tcp4", addr+":53")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	servers := []*dns.Server{{PacketConn: udp, Handler: handle}, {Listener: tcp, Handler: handle}}
	for _, s := range servers {
		go func() { _ = s.ActivateAndServe() }()
	}
	return func() {
		for _, s := range servers {
			_ = s.Shutdown()
		}
	}, nil
}

// world lets the nameserver answer so until the test ends.
func world(tb testing.TB, f dns.HandlerFunc) {
	answer.Store(&f)
	tb.Cleanup(func() { answer.Store(nil) })
}
