package dataplane_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/dataplane/fastpath"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// needFast ends a test that is about the fast path where it is switched off.
func needFast(t *testing.T) {
	if *fastPath == string(dataplane.FastOff) {
		t.Skip("the fast path is switched off for this run")
	}
}

// pair makes two hosts with one network: two containers on the first, one on the other.
func pair(t *testing.T) (hosts []*host, near, alsoNear, far *container) {
	t.Helper()
	hosts = newHosts(t, 2)
	c := spread(t, hosts, true)
	second := port("net1", "second", "10.9.0.9/24", "fd00:9::9/64")
	n := &hosts[0].cfg.Networks[0]
	n.Ports = append(slices.Clone(n.Ports), second)
	slices.SortFunc(n.Ports, func(a, b overlay.Port) int { return slices.Compare([]byte(a.Endpoint), []byte(b.Endpoint)) })
	m := &hosts[1].cfg.Networks[0]
	m.Remotes = append(slices.Clone(m.Remotes), remote(second, vtep(1)))
	slices.SortFunc(m.Remotes, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	for _, h := range hosts {
		h.set()
	}
	third := hosts[0].fetch(second)
	hosts[0].arrive(second)
	return hosts, c[0], third, c[1]
}

// echo answers on TCP and UDP port 7000 of both addresses until the test ends.
func (c *container) echo(t *testing.T) {
	t.Helper()
	for _, a := range c.port.Addrs {
		at := netip.AddrPortFrom(a.Addr(), 7000)
		c.ns.Do(func() error {
			l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
			if err != nil {
				return err
			}
			u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
			if err != nil {
				return err
			}
			done := make(chan struct{}, 2)
			t.Cleanup(func() { l.Close(); u.Close(); <-done; <-done })
			go func() {
				defer func() { done <- struct{}{} }()
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = io.Copy(conn, conn)
					conn.Close()
				}
			}()
			go func() {
				defer func() { done <- struct{}{} }()
				b := make([]byte, 1<<16)
				for {
					n, from, err := u.ReadFromUDPAddrPort(b)
					if err != nil {
						return
					}
					_, _ = u.WriteToUDPAddrPort(b[:n], from)
				}
			}()
			return nil
		})
	}
}

// talks sends some bytes to an echo over the network and says what failed.
func (c *container) talks(network string, addr netip.Addr, size int) error {
	return c.ns.Run(func() error {
		conn, err := net.DialTimeout(network, netip.AddrPortFrom(addr, 7000).String(), soon)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(2 * soon)); err != nil {
			return err
		}
		sent := make([]byte, size)
		for i := range sent {
			sent[i] = byte(i * 7)
		}
		errs := make(chan error, 1)
		go func() {
			_, err := conn.Write(sent)
			errs <- err
		}()
		got := make([]byte, size)
		if _, err := io.ReadFull(conn, got); err != nil {
			return err
		}
		if !slices.Equal(got, sent) {
			return fmt.Errorf("what came back is not what was sent")
		}
		return <-errs
	})
}

func TestContainersTalkTheFastWay(t *testing.T) {
	needFast(t)
	hosts, near, alsoNear, far := pair(t)
	far.echo(t)
	alsoNear.echo(t)
	for i, to := range []*container{far, alsoNear} {
		for _, a := range to.port.Addrs {
			for network, size := range map[string]int{"tcp": 1 << 20, "udp": 1000} {
				before := []dataplane.FastState{hosts[0].fastState(), hosts[1].fastState()}
				if err := near.talks(network, a.Addr(), size); err != nil {
					t.Errorf("%s to %s: %v", network, a.Addr(), err)
				}
				now := []dataplane.FastState{hosts[0].fastState(), hosts[1].fastState()}
				fast := now[0].Sent > before[0].Sent && now[0].Received > before[0].Received &&
					now[1].Sent > before[1].Sent && now[1].Received > before[1].Received
				if i == 1 {
					fast = now[0].Local > before[0].Local+1
				}
				if !fast {
					t.Errorf("%s to %s did not take the fast path: from %+v to %+v", network, a.Addr(), before, now)
				}
			}
		}
	}
}

// Datagrams that the kernel is to cut (UDP_SEGMENT), as QUIC sends them.
func TestDatagramsInOneTakeTheFastPath(t *testing.T) {
	needFast(t)
	hosts, near, alsoNear, far := pair(t)
	for _, to := range []*container{far, alsoNear} {
		for _, a := range to.port.Addrs {
			var got *net.UDPConn
			to.ns.Do(func() (err error) {
				got, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), 7001)))
				return err
			})
			defer got.Close()
			near.ns.Do(func() error {
				conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr(), 7001)))
				if err != nil {
					return err
				}
				defer conn.Close()
				raw, err := conn.SyscallConn()
				if err != nil {
					return err
				}
				var set error
				if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1200) }); err != nil || set != nil {
					return errors.Join(err, set)
				}
				_, err = conn.Write(make([]byte, 12_000))
				return err
			})
			_ = got.SetReadDeadline(time.Now().Add(soon))
			b := make([]byte, 1<<16)
			for i := range 10 {
				if n, err := got.Read(b); n != 1200 {
					t.Errorf("to %s: datagram %d has %d bytes: %v", a.Addr(), i, n, err)
					break
				}
			}
		}
	}
	if a, b := hosts[0].fastState(), hosts[1].fastState(); a.Sent != 2 || a.Local != 2 || b.Received != 2 {
		t.Errorf("not all took the fast path as one: %+v, %+v", a, b)
	}
}

func TestTheProgramIsAtTheInterfaceWhileThereAreNetworks(t *testing.T) {
	needFast(t)
	hosts, _, _, _ := pair(t)
	h := hosts[0]
	has := func() bool {
		for _, p := range programs(h.ns, "", func(string, ...any) {}) {
			info, err := p.Info()
			if err == nil && info.Name == "weft_from_wire" {
				return true
			}
		}
		return false
	}
	if !has() {
		t.Fatal("it is not there")
	}
	was := h.cfg.Networks
	h.cfg.Networks = nil
	h.set()
	if s := h.fastState(); has() || s.Why.Cause != dataplane.CauseIdle {
		t.Errorf("it is there without networks: %+v", s)
	}
	h.cfg.Networks = was
	h.set()
	if !has() {
		t.Error("it does not come back")
	}
}

// What IPsec is to encrypt, or to let in, does not go around it.
func TestIPsecClosesTheFastPath(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	h, to := hosts[0], far.port.Addrs[0].Addr()
	for _, policy := range []string{
		"dst 198.51.100.7 dir out tmpl proto esp mode transport",
		"src 192.0.2.0/24 dst 192.0.2.0/24 proto udp dport 4789 dir in tmpl proto esp mode transport level use",
		"src 2001:db8::/64 dst 2001:db8::/64 dir out mark 0x7 tmpl proto esp mode transport",
	} {
		must(t, h.ns, append([]string{"ip", "xfrm", "policy", "add"}, strings.Fields(policy)...)...)
		h.set()
		before := h.fastState()
		if before.Why.Cause != dataplane.CauseHost || !strings.Contains(before.Why.Text, "IPsec") {
			t.Fatalf("with policy %q: %+v", policy, before)
		}
		if err := near.talks("tcp", to, 1<<16); err != nil {
			t.Errorf("with policy %q: %v", policy, err)
		}
		if now := h.fastState(); now.Sent != before.Sent || now.Received != before.Received {
			t.Errorf("with policy %q: from %+v to %+v", policy, before, now)
		}
		must(t, h.ns, "ip", "xfrm", "policy", "flush")
		h.set()
		if s := h.fastState(); s.Why.Cause != "" {
			t.Fatalf("without policy %q: %+v", policy, s)
		}
		if err := near.talks("tcp", to, 1<<16); err != nil || h.fastState().Sent == before.Sent {
			t.Errorf("without policy %q: %v, %+v", policy, err, h.fastState())
		}
	}
}

// A program that somebody takes away comes back, and that is told.
func TestAProgramThatIsTakenAwayComesBack(t *testing.T) {
	needFast(t)
	hosts, near, _, _ := pair(t)
	h, name := hosts[0], overlay.PortLink(near.port.Endpoint)
	h.netlink("net1", func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(name)
		if err != nil {
			return err
		}
		netns.In(t, h.path("net1"), func(ns *netns.NS) { ns.Do(func() error { return fastpath.Detach(l.Attrs().Index) }) })
		return nil
	})
	want := []string{"program of the fast path at link " + name + " of network net1 was missing"}
	if r := h.verify(); !slices.Equal(r.Repaired, want) {
		t.Errorf("told %q, want %q", r.Repaired, want)
	}
	if r := h.verify(); r.Repairs != 0 {
		t.Errorf("repaired what was right: %q", r.Repaired)
	}
}

// What the fast path leaves to the bridge and the tunnel arrives as well.
func TestTheSlowWayIsThere(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	if !near.pings(far.port.Addrs[0].Addr()) || !near.pings(far.port.Addrs[1].Addr()) {
		t.Error("no answer to a ping")
	}
	for _, a := range far.port.Addrs { // in fragments
		if err := near.talks("udp", a.Addr(), 8000); err != nil {
			t.Errorf("fragments to %s: %v", a.Addr(), err)
		}
	}
	if s := hosts[0].fastState(); s.Sent != 0 {
		t.Errorf("%d packets took the fast path", s.Sent)
	}
	// Without weft everything does, from then on when nobody keeps the tables.
	if err := near.talks("tcp", far.port.Addrs[0].Addr(), 100); err != nil {
		t.Fatal(err)
	}
	if s := hosts[0].fastState(); s.Sent == 0 {
		t.Error("nothing takes the fast path")
	}
	hosts[0].dp.Close()
	before := hosts[1].fastState()
	if err := near.talks("tcp", far.port.Addrs[0].Addr(), 1<<20); err != nil {
		t.Errorf("without weft: %v", err)
	}
	if now := hosts[1].fastState(); now.Sent == before.Sent {
		t.Error("the other host's answers did not take the fast path")
	}
	hosts[0].restart()
	hosts[0].set()
	if err := near.talks("tcp", far.port.Addrs[0].Addr(), 100); err != nil {
		t.Error(err)
	}
	if s := hosts[0].fastState(); s.Sent == 0 || s.Received == 0 {
		t.Errorf("after a restart nothing takes the fast path: %+v", s)
	}
}

// A host with and one without the fast path understand each other.
func TestFastAndSlowHostsTalk(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	hosts[1].dp.Close()
	hosts[1].restartWith(dataplane.FastOff)
	hosts[1].set()
	for _, a := range far.port.Addrs {
		for network, size := range map[string]int{"tcp": 1 << 20, "udp": 1000} {
			if err := near.talks(network, a.Addr(), size); err != nil {
				t.Errorf("%s to %s: %v", network, a.Addr(), err)
			}
		}
	}
	if s := hosts[0].fastState(); s.Sent == 0 || s.Received == 0 {
		t.Errorf("the fast host did not take the fast path: %+v", s)
	}
	if s := hosts[1].fastState(); s.Sent != 0 || s.Why.Cause != dataplane.CauseOff {
		t.Errorf("the slow host: %+v", s)
	}
	hosts[1].fastText(func(format string, args ...any) {
		t.Errorf("is left: "+format, args...)
	})
}

// A stranger's packets, and a member's of another network, are left to the tunnel's
// guard by the program at the wire.
func TestStrangersDoNotGetInTheFastWay(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	if err := near.talks("udp", far.port.Addrs[0].Addr(), 10); err != nil {
		t.Fatal(err)
	}
	hosts[1].cfg.Networks[0].Members = nil
	hosts[1].set()
	before := hosts[1].fastState()
	if err := near.talks("udp", far.port.Addrs[0].Addr(), 10); err == nil {
		t.Error("who is no member was heard")
	}
	if now := hosts[1].fastState(); now.Received != before.Received {
		t.Error("the fast path let a stranger in")
	}
}

// While the process is killed and started again and again, no packet is lost.
func TestNothingIsLostWhileProcessesCome(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	end := near.streams(t, far.port.Addrs[0].Addr())
	for i := range 6 {
		h := hosts[i%2]
		mode := dataplane.FastAuto
		if i%3 == 2 {
			mode = dataplane.FastOff
		}
		h.restartWith(mode)
		h.set()
		h.verify()
	}
	end()
}
