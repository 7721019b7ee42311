package dataplane_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane/direct"
	"github.com/weft-net/weft/driver/overlay"
)

// nic is the host's interface as the others know it.
func (h *host) nic() overlay.NIC {
	h.tb.Helper()
	out := overlay.NIC{VTEP: h.cfg.VTEP}
	h.ns.Netlink(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName("eth0")
		if err == nil {
			copy(out.MAC[:], l.Attrs().HardwareAddr)
		}
		return err
	})
	return out
}

// acquaint tells the hosts of each other's interfaces, and lets so much time go by that
// all know of all containers.
func acquaint(hosts []*host) {
	for i, h := range hosts {
		h.cfg.Networks[0].Direct = nil
		for j, other := range hosts {
			if i != j {
				h.cfg.Networks[0].Direct = append(h.cfg.Networks[0].Direct, other.nic())
			}
		}
		h.verify()
		h.clock = h.clock.Add(time.Minute)
		h.verify()
	}
}

// runDirect probes until the test, or what it returns, ends it. told is what the host
// announces.
func (h *host) runDirect(told *atomic.Pointer[overlay.MAC]) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- h.dp.RunDirect(ctx, func(mac overlay.MAC) {
			if told != nil {
				told.Store(&mac)
			}
		})
	}()
	var ended atomic.Bool
	end = func() {
		if !ended.Swap(true) {
			cancel()
			if err := <-done; err != nil {
				h.tb.Error(err)
			}
		}
	}
	h.tb.Cleanup(end)
	return end
}

// awaitWay waits until all packets of the host go so.
func (h *host) awaitWay(want direct.State) {
	h.tb.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		s := h.dp.Directs()
		all := len(s.Ways) > 0
		for _, w := range s.Ways {
			all = all && w.State == want
		}
		if all {
			return
		}
		if time.Now().After(deadline) {
			h.tb.Fatalf("packets of host %d do not go by way of %q: %+v", h.n, want, s)
		}
	}
}

func TestContainersTalkDirectly(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	var told [2]atomic.Pointer[overlay.MAC]
	acquaint(hosts)
	for i, h := range hosts {
		h.runDirect(&told[i])
	}
	for i, h := range hosts {
		h.awaitWay(direct.Direct)
		if got := told[i].Load(); got == nil || *got != h.nic().MAC {
			t.Errorf("host %d announces %v", h.n, got)
		}
	}
	for _, a := range far.port.Addrs {
		for network, size := range map[string]int{"tcp": 1 << 20, "udp": 1000} {
			before := []uint64{hosts[0].fastState().Sent, hosts[0].fastState().SentDirect, hosts[1].fastState().SentDirect, hosts[1].fastState().ReceivedDirect}
			if err := near.talks(network, a.Addr(), size); err != nil {
				t.Errorf("%s to %s: %v", network, a.Addr(), err)
			}
			a0, a1 := hosts[0].fastState(), hosts[1].fastState()
			if a0.Sent != before[0] || a0.SentDirect == before[1] || a1.SentDirect == before[2] || a1.ReceivedDirect == before[3] {
				t.Errorf("%s to %s did not go directly: before %v, now %+v, %+v", network, a.Addr(), before, a0, a1)
			}
		}
	}
	if !near.pings(far.port.Addrs[0].Addr()) {
		t.Error("what takes the slow way does not arrive")
	}
	if err := near.talks("udp", far.port.Addrs[0].Addr(), 8000); err != nil { // in fragments
		t.Error(err)
	}
}

// What goes directly to an address that no container has is refused as by the tunnel.
func TestAnAddressThatIsGoneIsRefusedDirectly(t *testing.T) {
	needFast(t)
	hosts, near, _, _ := pair(t)
	gone := ip("10.9.0.77")
	hosts[1].cfg.Networks[0].Gone = []netip.Addr{gone}
	hosts[0].cfg.Networks[0].Remotes = append(hosts[0].cfg.Networks[0].Remotes, overlay.Remote{MAC: overlay.MACOf("net1", gone), VTEP: vtep(2), Addrs: []netip.Addr{gone}})
	acquaint(hosts)
	for _, h := range hosts {
		h.runDirect(nil)
	}
	hosts[0].awaitWay(direct.Direct)
	before := hosts[0].fastState()
	err := near.ns.Run(func() error {
		_, err := net.DialTimeout("tcp", netip.AddrPortFrom(gone, 7000).String(), soon)
		return err
	})
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("to an address that is gone: %v", err)
	}
	if now := hosts[0].fastState(); now.SentDirect == before.SentDirect {
		t.Errorf("it did not go directly: %+v", now)
	}
}

// A path on which containers' packets are lost is left within seconds, and probed again
// later. The other way is left as well: no probe gets an answer.
func TestAPathThatStopsWorkingIsLeft(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	acquaint(hosts)
	for _, h := range hosts {
		h.runDirect(nil)
	}
	for _, h := range hosts {
		h.awaitWay(direct.Direct)
	}
	for _, rule := range []string{"add table netdev filter", "add chain netdev filter in { type filter hook ingress device p1 priority 0; }", "add rule netdev filter in ip saddr 10.9.0.0/24 drop"} {
		must(t, hosts[0].sw, "nft", rule)
	}
	began := time.Now()
	if err := near.talks("udp", far.port.Addrs[0].Addr(), 10); err == nil {
		t.Fatal("nothing is dropped")
	}
	for near.talks("udp", far.port.Addrs[0].Addr(), 10) != nil {
		if time.Since(began) > time.Minute {
			t.Fatal("nothing arrives any more")
		}
	}
	t.Logf("containers reached each other again after %v", time.Since(began).Round(100*time.Millisecond))
	for _, h := range hosts {
		h.awaitWay(direct.Tunnel)
	}
	before := hosts[0].fastState()
	if err := near.talks("tcp", far.port.Addrs[1].Addr(), 1<<20); err != nil {
		t.Error(err)
	}
	if now := hosts[0].fastState(); now.SentDirect != before.SentDirect {
		t.Error("packets of IPv6 go directly on")
	}
}

// ping1kHz sends datagrams to an echo, one each millisecond, and gives how many were lost.
func (c *container) ping1kHz(to netip.Addr, stop <-chan struct{}) (sent, lost int, err error) {
	err = c.ns.Run(func() error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(to, 7000).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		b := make([]byte, 8)
		for i := byte(0); ; i++ {
			select {
			case <-stop:
				return nil
			case <-time.After(time.Millisecond):
			}
			_, _ = conn.Write([]byte{i})
			sent++
			_ = conn.SetReadDeadline(time.Now().Add(soon))
			if k, err := conn.Read(b); err != nil || k != 1 || b[0] != i {
				lost++
			}
		}
	})
	return sent, lost, err
}

// streams does so until end is called. None may be lost.
func (c *container) streams(t *testing.T, to netip.Addr) (end func()) {
	t.Helper()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		sent, lost, err := c.ping1kHz(to, stop)
		if lost != 0 || err != nil {
			t.Errorf("%d of %d packets were lost: %v", lost, sent, err)
		}
		t.Logf("%d packets", sent)
	}()
	return func() {
		close(stop)
		<-ended
	}
}

// Whatever way a packet takes, it arrives.
func TestNothingIsLostWhileTheWayChanges(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	acquaint(hosts)
	far.port.Addrs = far.port.Addrs[:1]
	end := near.streams(t, far.port.Addrs[0].Addr())
	for i := range 100 {
		before := hosts[0].fastState()
		if err := hosts[0].dp.Lease(4097, hosts[1].nic(), i%2 == 0); err != nil {
			t.Fatal(err)
		}
		for {
			if now := hosts[0].fastState(); now.SentDirect-before.SentDirect+now.Sent-before.Sent > 20 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	end()
	if s := hosts[0].fastState(); s.Sent < 500 || s.SentDirect < 500 {
		t.Errorf("the way did not change: %+v", s)
	}
}

// A process that comes in the place of another one takes what others go on sending.
func TestNothingThatComesDirectlyIsLostWhileProcessesCome(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	acquaint(hosts)
	hosts[0].runDirect(nil)
	end := hosts[1].runDirect(nil)
	hosts[0].awaitWay(direct.Direct)
	last := near.streams(t, far.port.Addrs[0].Addr())
	for range 4 {
		end()
		hosts[1].restart()
		hosts[1].set()
		hosts[1].clock = hosts[1].clock.Add(time.Minute)
		hosts[1].verify()
		end = hosts[1].runDirect(nil)
		hosts[1].awaitWay(direct.Direct)
		hosts[0].awaitWay(direct.Direct)
	}
	last()
	if s := hosts[1].fastState(); s.ReceivedDirect == 0 {
		t.Errorf("nothing came directly: %+v", s)
	}
}

// Where it is not safe, nothing goes directly.
func TestWhereNothingGoesDirectly(t *testing.T) {
	needFast(t)
	hosts, _, _, _ := pair(t)
	h := hosts[0]
	acquaint(hosts)
	for _, h := range hosts {
		h.runDirect(nil)
	}
	h.awaitWay(direct.Direct)
	is := func(when string, f func() bool) {
		t.Helper()
		h.verify()
		for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", when, h.dp.Directs())
			}
		}
	}
	nothing := func(why string) func() bool {
		return func() bool {
			s := h.dp.Directs()
			return len(s.Ways) == 0 && s.NIC == overlay.MAC{} && strings.Contains(s.Why, why)
		}
	}
	something := func() bool { return len(h.dp.Directs().Ways) == 1 && h.dp.Directs().NIC != overlay.MAC{} }

	must(t, h.ns, "tc", "qdisc", "add", "dev", "eth0", "clsact")
	must(t, h.ns, "tc", "filter", "add", "dev", "eth0", "egress", "protocol", "ip", "prio", "1", "u32", "match", "u32", "0", "0", "classid", "1:1")
	is("with somebody else's filter", nothing("a filter of kind u32 at tc egress of eth0"))
	must(t, h.ns, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	is("without it", something)

	must(t, h.ns, "ip", "xfrm", "policy", "add", "dst", "198.51.100.7", "dir", "out", "tmpl", "proto", "esp", "mode", "transport")
	is("with IPsec", nothing("IPsec"))
	must(t, h.ns, "ip", "xfrm", "policy", "flush")
	is("without it", something)

	must(t, h.ns, "ip", "route", "add", "192.0.2.2/32", "via", "192.0.2.9", "dev", "eth0")
	is("with a gateway before the other host", func() bool { return len(h.dp.Directs().Ways) == 0 })
	must(t, h.ns, "ip", "route", "del", "192.0.2.2/32")
	is("without it", something)

	h.cfg.Networks[0].Direct = nil
	is("with a host that takes nothing directly", func() bool { return len(h.dp.Directs().Ways) == 0 })
}
