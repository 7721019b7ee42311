package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/test/lab"
)

// goes waits until packets of the host go to the other one directly, or through tunnels.
func goes(t *testing.T, from, to string, directly bool) {
	t.Helper()
	eventually(t, time.Minute, "packets take their way", func() error {
		s := weft[control.Status](t, from, "status", "--json")
		i := slices.IndexFunc(s.Direct.Hosts, func(h control.DirectHost) bool { return h.Host == to })
		if i < 0 || (len(s.Direct.Hosts[i].Tunnel)+len(s.Direct.Hosts[i].Probing) == 0) != directly {
			return fmt.Errorf("%s says %+v", from, s.Direct)
		}
		return nil
	})
}

// directs are how many packets the host has sent directly.
func directs(t *testing.T, host string) uint64 {
	t.Helper()
	return weft[control.Status](t, host, "status", "--json").Fast.SentDirect
}

// chat is UDP between two containers, a datagram and its echo each millisecond.
type chat struct {
	client, server *net.UDPConn
	sent, lost     int
	longest        time.Duration // without an answer
	stop, done     chan struct{}
}

func newChat(t *testing.T, from, to box) *chat {
	t.Helper()
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to.ip()), 7000))
	c := &chat{stop: make(chan struct{}), done: make(chan struct{})}
	for _, end := range []struct {
		box  box
		open func() error
	}{
		{to, func() (err error) { c.server, err = net.ListenUDP("udp4", at); return err }},
		{from, func() (err error) { c.client, err = net.DialUDP("udp4", nil, at); return err }},
	} {
		path, err := end.box.Host.ContainerNetns(t.Context(), end.box.Name)
		if err == nil {
			err = lab.Inside(path, end.open)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	go c.echo()
	go c.run()
	return c
}

func (c *chat) echo() {
	b := make([]byte, 64)
	for {
		n, from, err := c.server.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		_, _ = c.server.WriteToUDPAddrPort(b[:n], from)
	}
}

func (c *chat) run() {
	defer close(c.done)
	last, b := time.Now(), make([]byte, 64)
	for i := byte(0); ; i++ {
		select {
		case <-c.stop:
			return
		case <-time.After(time.Millisecond):
		}
		_, _ = c.client.Write([]byte{i})
		c.sent++
		_ = c.client.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := c.client.Read(b)
			if err != nil {
				c.lost++
				break
			}
			if n == 1 && b[0] == i { // else it is late
				c.longest, last = max(c.longest, time.Since(last)), time.Now()
				break
			}
		}
	}
}

func (c *chat) end() {
	close(c.stop)
	<-c.done
	c.client.Close()
	c.server.Close()
}

// Between hosts on one segment packets go without a tunnel. Whatever becomes of the weft
// of either, none is lost.
func TestPacketsGoDirectly(t *testing.T) {
	n := network(t, "h1", "--ipv6")
	mirrored(t, "h2", n)
	a, b := container(t, "h1", n), container(t, "h2", n)
	talk := newChat(t, a, b)
	goes(t, "h1", "h2", true)
	goes(t, "h2", "h1", true)
	before := directs(t, "h1")
	eventually(t, 10*time.Second, "packets go directly", func() error {
		if now := directs(t, "h1"); now < before+100 {
			return fmt.Errorf("only %d do", now-before)
		}
		return nil
	})
	a.pings(b.ip())

	for _, c := range []struct {
		host, other string
		stop        func(*lab.Host) error
	}{
		{"h2", "h1", func(h *lab.Host) error { return h.Kill(t.Context(), lab.Weft) }},
		{"h1", "h2", func(h *lab.Host) error { return h.Kill(t.Context(), lab.Weft) }},
		{"h2", "h1", func(h *lab.Host) error { return h.Stop(t.Context(), lab.Weft) }},
		{"h1", "h2", func(h *lab.Host) error { return h.Stop(t.Context(), lab.Weft) }},
	} {
		h := cluster.Host(c.host)
		if err := c.stop(h); err != nil {
			t.Fatal(err)
		}
		goes(t, c.other, c.host, false)
		if err := h.Start(t.Context(), lab.Weft); err != nil {
			t.Fatal(err)
		}
		goes(t, c.other, c.host, true)
		goes(t, c.host, c.other, true)
	}
	// One that hangs is not sent to directly either.
	if err := cluster.Host("h2").Signal(lab.Weft, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goes(t, "h1", "h2", false)
	if err := cluster.Host("h2").Signal(lab.Weft, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	goes(t, "h1", "h2", true)
	talk.end()
	t.Logf("%d of %d lost, the longest time without an answer was %v", talk.lost, talk.sent, talk.longest)
	if talk.lost != 0 {
		t.Errorf("%d of %d packets were lost", talk.lost, talk.sent)
	}
}

// What the segment does not carry goes through the tunnel again within seconds.
func TestASegmentThatDropsContainersPackets(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	a, b := container(t, "h1", n), container(t, "h2", n)
	talk := newChat(t, a, b)
	goes(t, "h1", "h2", true)
	goes(t, "h2", "h1", true)
	onSwitch := func(rule string) {
		t.Helper()
		if _, err := cluster.OnSwitch(t.Context(), "nft", rule); err != nil {
			t.Fatal(err)
		}
	}
	onSwitch("add table netdev cloud")
	t.Cleanup(func() {
		if _, err := cluster.OnSwitch(context.WithoutCancel(t.Context()), "nft", "delete table netdev cloud"); err != nil {
			t.Error(err)
		}
	})
	onSwitch("add chain netdev cloud in { type filter hook ingress device h1 priority 0; }")
	onSwitch("add rule netdev cloud in ip saddr " + a.ip() + " drop")
	goes(t, "h1", "h2", false)
	goes(t, "h2", "h1", false)
	time.Sleep(100 * time.Millisecond) // some go through the tunnel
	talk.end()
	t.Logf("%d of %d lost, the longest time without an answer was %v", talk.lost, talk.sent, talk.longest)
	if talk.lost == 0 || talk.longest > 10*time.Second {
		t.Errorf("%d of %d packets were lost, and there was no answer for %v", talk.lost, talk.sent, talk.longest)
	}
}

// A network of which a person wants it stays in tunnels.
func TestANetworkThatIsToUseTunnels(t *testing.T) {
	n := network(t, "h1", "-o", "weft.path=tunnel")
	mirrored(t, "h2", n)
	a, b := container(t, "h1", n), container(t, "h2", n)
	a.pings(b.ip())
	detail := weft[[]control.NetworkDetail](t, "h2", "network", "inspect", n, "--json")[0]
	if !detail.Record.Tunnelled || detail.Record.Options["weft.path"] != "tunnel" {
		t.Errorf("h2 says %+v", detail.Record)
	}
	s := weft[control.Status](t, "h1", "status", "--json")
	i := slices.IndexFunc(s.Direct.Hosts, func(h control.DirectHost) bool { return h.Host == "h2" })
	if i < 0 || !slices.Contains(s.Direct.Hosts[i].Tunnel, detail.ID) {
		t.Errorf("h1 says %+v", s.Direct)
	}
	refused(t, "h1", []string{"weft.path", "auto or tunnel"}, "network", "create", "-d", "weft", "--ipam-driver", "weft", "-o", "weft.path=straight", name(t, "no"))
}
