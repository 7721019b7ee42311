package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/test/netns"
)

// Ways in which Docker redirects 127.0.0.11:53 to its own sockets, with the
// ports left out: the versions' own, and the two iptables.
var dockerRules = map[string]string{
	"iptables-nft":    iptables("iptables-nft"),
	"iptables-legacy": iptables("iptables-legacy"),
	"nftables": `nft -f - <<END
table ip docker-dns {
	chain dns-dnat { type nat hook output priority -100; policy accept;
		ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:$UDP
		ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:$TCP; }
	chain dns-snat { type nat hook postrouting priority 100; policy accept;
		ip saddr 127.0.0.11 udp sport $UDP snat to 127.0.0.11:53
		ip saddr 127.0.0.11 tcp sport $TCP snat to 127.0.0.11:53; }
}
END`,
}

func iptables(cmd string) string {
	return strings.ReplaceAll(`set -e
I="CMD -w -t nat"
$I -N DOCKER_OUTPUT; $I -N DOCKER_POSTROUTING
$I -I OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT; $I -I POSTROUTING -d 127.0.0.11 -j DOCKER_POSTROUTING
$I -I DOCKER_OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:$UDP
$I -I DOCKER_POSTROUTING -s 127.0.0.11 -p udp --sport $UDP -j SNAT --to-source :53
$I -I DOCKER_OUTPUT -d 127.0.0.11 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.11:$TCP
$I -I DOCKER_POSTROUTING -s 127.0.0.11 -p tcp --sport $TCP -j SNAT --to-source :53`, "CMD", cmd)
}

// sandbox is a namespace with what Docker's resolver has in it.
type sandbox struct {
	*netns.NS
	tb testing.TB
}

// newSandbox makes one whose resolver at 127.0.0.11:53 says "docker" to everything.
func newSandbox(tb testing.TB, rules string) sandbox {
	tb.Helper()
	s := sandbox{NS: netns.New(tb), tb: tb}
	var udp net.PacketConn
	var tcp net.Listener
	s.Do(func() (err error) {
		if udp, err = net.ListenPacket("udp4", "127.0.0.11:0"); err == nil {
			tcp, err = net.Listen("tcp4", "127.0.0.11:0")
		}
		return err
	})
	tb.Cleanup(func() { udp.Close(); tcp.Close() })
	says(udp, tcp, "docker")
	cmd := exec.Command("sh", "-c", rules)
	cmd.Env = append(os.Environ(),
		fmt.Sprintf("UDP=%d", udp.LocalAddr().(*net.UDPAddr).Port), fmt.Sprintf("TCP=%d", tcp.Addr().(*net.TCPAddr).Port))
	s.run(cmd)
	return s
}

func (s sandbox) run(cmd *exec.Cmd) {
	s.tb.Helper()
	s.Do(func() error {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// says answers everything on the sockets with a word, until they are closed.
func says(udp net.PacketConn, tcp net.Listener, word string) {
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if string(buf[:n]) == slow {
				time.Sleep(slowness)
			}
			_, _ = udp.WriteTo([]byte(word), from)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, word)
			c.Close()
		}
	}()
}

// slow is a query by UDP whose answer takes this long.
const (
	slow     = "who, slowly?"
	slowness = 300 * time.Millisecond
)

// ask gives who answers a client of the sandbox.
func (s sandbox) ask(network string) string {
	s.tb.Helper()
	var c net.Conn
	s.Do(func() (err error) {
		c, err = net.Dial(network, "127.0.0.11:53")
		return err
	})
	defer c.Close()
	return word(c)
}

// word is what comes back over the connection.
func word(c net.Conn) string {
	buf := make([]byte, 100)
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("who?")); err != nil {
		return err.Error()
	}
	n, err := c.Read(buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

func (s sandbox) answers(want string) {
	s.tb.Helper()
	for _, network := range []string{"udp4", "tcp4"} {
		if got := s.ask(network); got != want {
			s.tb.Errorf("%s: answered by %q, want %q", network, got, want)
		}
	}
}

func newResolver(tb testing.TB, s sandbox) *dataplane.Resolver {
	tb.Helper()
	h := newHosts(tb, 1)[0]
	r, err := h.dp.OpenResolver(tb.Context(), s.Path())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			tb.Error(err)
		}
	})
	says(r.UDP(), r.TCP(), "weft")
	return r
}

func intercept(tb testing.TB, r *dataplane.Resolver, ttl time.Duration) {
	tb.Helper()
	if err := r.Intercept(ttl); err != nil {
		tb.Fatal(err)
	}
}

func TestInterceptComesBeforeDocker(t *testing.T) {
	for name, rules := range dockerRules {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t, rules)
			s.answers("docker")
			r := newResolver(t, s)
			s.answers("docker") // sockets alone change nothing
			intercept(t, r, time.Minute)
			s.answers("weft")

			for _, network := range []string{"udp4", "tcp4"} {
				c, err := r.Dial(t.Context(), network)
				if err != nil {
					t.Fatal(err)
				}
				if got := word(c); got != "docker" {
					t.Errorf("%s: our own query is answered by %q", network, got)
				}
				c.Close()
			}

			if err := r.Release(); err != nil {
				t.Fatal(err)
			}
			s.answers("docker")
		})
	}
}

func TestInterceptionLapsesUnlessRenewed(t *testing.T) {
	s := newSandbox(t, dockerRules["nftables"])
	r := newResolver(t, s)
	intercept(t, r, 400*time.Millisecond)
	for range 5 {
		time.Sleep(200 * time.Millisecond)
		s.answers("weft")
		intercept(t, r, 400*time.Millisecond)
	}
	time.Sleep(600 * time.Millisecond)
	s.answers("docker")
	intercept(t, r, time.Minute)
	s.answers("weft")
}

// A process that dies closes its sockets and can do nothing more.
func TestInterceptionEndsWithItsProcess(t *testing.T) {
	s := newSandbox(t, dockerRules["nftables"])
	r := newResolver(t, s)
	intercept(t, r, time.Minute)
	s.answers("weft")
	r.Abandon()
	s.answers("docker")
}

// Nor does the kernel go on sending to its port what comes from a socket that has
// asked it, or from a new one with the same port.
func TestADeadProcessLeavesNoFlows(t *testing.T) {
	for name, rules := range dockerRules {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t, rules)
			r := newResolver(t, s)
			intercept(t, r, time.Minute)
			client := func() (c net.Conn) {
				s.Do(func() (err error) {
					c, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5353}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 11), Port: 53})
					return err
				})
				return c
			}
			c := client()
			for range 3 { // a flow with several answers stays longer
				if got := word(c); got != "weft" {
					t.Fatal(got)
				}
			}
			r.Abandon()
			r.UDP().Close()
			r.TCP().Close()
			if got := word(c); got != "docker" {
				t.Errorf("the socket is answered by %q", got)
			}
			c.Close()
			c = client()
			defer c.Close()
			if got := word(c); got != "docker" {
				t.Errorf("a new socket with its port is answered by %q", got)
			}
		})
	}
}

// What was asked before the release is answered after it.
func TestReleaseLosesNoAnswer(t *testing.T) {
	s := newSandbox(t, dockerRules["nftables"])
	r := newResolver(t, s)
	intercept(t, r, time.Minute)
	var c net.Conn
	s.Do(func() (err error) {
		c, err = net.Dial("udp4", "127.0.0.11:53")
		return err
	})
	defer c.Close()
	if _, err := io.WriteString(c, slow); err != nil {
		t.Fatal(err)
	}
	if err := r.Release(); err != nil {
		t.Fatal(err)
	}
	s.answers("docker")
	buf := make([]byte, 100)
	_ = c.SetDeadline(time.Now().Add(10 * slowness))
	n, err := c.Read(buf)
	if got := string(buf[:n]); err != nil || got != "weft" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestInterceptReplacesWhatIsLeft(t *testing.T) {
	s := newSandbox(t, dockerRules["nftables"])
	// What a killed process leaves on a kernel without owned tables.
	s.run(exec.Command("nft", `add table ip weft-dns; add set ip weft-dns live { type ipv4_addr; flags timeout; };
		add element ip weft-dns live { 127.0.0.11 timeout 1h };
		add chain ip weft-dns out { type nat hook output priority -110; };
		add rule ip weft-dns out ip daddr @live udp dport 53 dnat to 127.0.0.11:9;
		add rule ip weft-dns out ip daddr @live tcp dport 53 dnat to 127.0.0.11:9`))
	if got := s.ask("udp4"); got == "docker" {
		t.Fatal("the test's own table does not intercept")
	}
	r := newResolver(t, s)
	intercept(t, r, time.Minute)
	s.answers("weft")
}

func TestSocketKeptByTheClientIsFollowed(t *testing.T) {
	s := newSandbox(t, dockerRules["iptables-nft"])
	var c net.Conn
	s.Do(func() (err error) {
		c, err = net.Dial("udp4", "127.0.0.11:53")
		return err
	})
	defer c.Close()
	if got := word(c); got != "docker" {
		t.Fatal(got)
	}
	r := newResolver(t, s)
	intercept(t, r, time.Minute)
	if got := word(c); got != "weft" {
		t.Errorf("a socket that has asked Docker before is answered by %q", got)
	}
	if err := r.Release(); err != nil {
		t.Fatal(err)
	}
	if got := word(c); got != "docker" {
		t.Errorf("a socket that has asked weft is answered by %q once weft is released", got)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := word(c); got != "docker" {
		t.Errorf("a socket that has asked weft is answered by %q afterwards", got)
	}
}

// The container's query was on its way to Docker's resolver when the
// interception began, and ours, as of the weft that was there before. The
// container's next one comes to us, by the same socket.
func TestQueriesUnderWayAreAnswered(t *testing.T) {
	for name, rules := range dockerRules {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t, rules)
			r := newResolver(t, s)
			var clients [2]net.Conn
			s.Do(func() (err error) {
				clients[0], err = net.Dial("udp4", "127.0.0.11:53")
				return err
			})
			var err error
			if clients[1], err = r.Dial(t.Context(), "udp4"); err != nil {
				t.Fatal(err)
			}
			for _, c := range clients {
				defer c.Close()
				if _, err := io.WriteString(c, slow); err != nil {
					t.Fatal(err)
				}
			}
			intercept(t, r, time.Minute)
			for i, c := range clients {
				buf := make([]byte, 100)
				_ = c.SetDeadline(time.Now().Add(10 * slowness))
				n, err := c.Read(buf)
				if got := string(buf[:n]); err != nil || got != "docker" {
					t.Errorf("client %d: %q, %v", i, got, err)
				}
			}
			intercept(t, r, time.Minute)
			if got := word(clients[0]); got != "weft" {
				t.Errorf("the container's socket is answered by %q later", got)
			}
		})
	}
}

func TestOpenResolverBeforeAndAfterTheSandbox(t *testing.T) {
	h := newHosts(t, 1)[0]
	if _, err := h.dp.OpenResolver(t.Context(), t.TempDir()+"/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no sandbox: %v", err)
	}
	plain := t.TempDir() + "/plain"
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.dp.OpenResolver(t.Context(), plain); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a plain file, as Docker leaves it: %v", err)
	}

	s := newSandbox(t, dockerRules["nftables"])
	r := newResolver(t, s)
	intercept(t, r, time.Minute)
	if !r.Current() {
		t.Error("an open sandbox is not current")
	}
	s.Delete()
	if r.Current() {
		t.Error("a sandbox that is gone is current")
	}
}

func TestInterceptInManySandboxesAtOnce(t *testing.T) {
	h := newHosts(t, 1)[0]
	done := make(chan error)
	const many = 20
	for range many {
		ns := netns.New(t)
		go func() {
			r, err := h.dp.OpenResolver(context.Background(), ns.Path())
			if err == nil {
				err = errors.Join(r.Intercept(time.Minute), r.Intercept(time.Minute), r.Close())
			}
			done <- err
		}()
	}
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkIntercept(b *testing.B) {
	s := newSandbox(b, dockerRules["nftables"])
	r := newResolver(b, s)
	b.Run("install", func(b *testing.B) {
		for b.Loop() {
			_ = r.Release()
			intercept(b, r, time.Minute)
		}
	})
	b.Run("renew", func(b *testing.B) {
		for b.Loop() {
			intercept(b, r, time.Minute)
		}
	})
}

// BenchmarkDialDocker is a fresh socket inside the sandbox.
func BenchmarkDialDocker(b *testing.B) {
	r := newResolver(b, newSandbox(b, dockerRules["nftables"]))
	for b.Loop() {
		c, err := r.Dial(b.Context(), "udp4")
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
