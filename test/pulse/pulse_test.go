package pulse_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/test/netns"
	"github.com/weft-net/weft/test/pulse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is lost while a link is down is counted, and nothing else.
func TestLostIsWhatWasCut(t *testing.T) {
	a, b := netns.New(t), netns.New(t)
	netns.Link(a, "eth0", b, "eth0")
	a.Addr("eth0", "192.0.2.1/24")
	b.Addr("eth0", "192.0.2.2/24")
	ends := [2]pulse.End{
		{Netns: a.Path(), Addr: netip.MustParseAddr("192.0.2.1"), Name: "a"},
		{Netns: b.Path(), Addr: netip.MustParseAddr("192.0.2.2"), Name: "b"},
	}
	if silent, err := pulse.Ping(a.Path(), []netip.Addr{ends[1].Addr, netip.MustParseAddr("192.0.2.3")}, 200*time.Millisecond); err != nil || fmt.Sprint(silent) != "[192.0.2.3]" {
		t.Errorf("silent are %v, want 192.0.2.3 (%v)", silent, err)
	}
	for _, cut := range []bool{false, true} {
		p, err := pulse.New(t.Context(), ends[0], ends[1])
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		time.Sleep(500 * time.Millisecond)
		if cut {
			set(a, netlink.LinkSetDown)
			time.Sleep(300 * time.Millisecond)
			set(a, netlink.LinkSetUp)
		}
		time.Sleep(700 * time.Millisecond)
		stop()
		running.Wait()
		r := p.Result()
		t.Logf("cut: %v: %+v", cut, r)
		switch {
		case r.Sent < 230 || r.Broken != "" || r.Failed != r.Asked || r.Asked == 0: // nobody answers queries here
			t.Errorf("%+v", r)
		case !cut && r.Lost > 0:
			t.Errorf("%d packets are said to be lost", r.Lost)
		case cut && (r.Lost < 20 || r.Lost > 200 || r.Stall < 250*time.Millisecond):
			t.Errorf("in 0.3 s without a link %d packets were lost and the stream has waited for %s", r.Lost, r.Stall)
		}
	}
}

// IPv6 is counted likewise, and what was sent to nobody is lost.
func TestPingsOverIPv6(t *testing.T) {
	a, b := netns.New(t), netns.New(t)
	netns.Link(a, "eth0", b, "eth0")
	a.Addr("eth0", "2001:db8::1/64")
	b.Addr("eth0", "2001:db8::2/64")
	for to, answered := range map[string]bool{"2001:db8::2": true, "2001:db8::3": false} {
		p, err := pulse.NewPings(a.Path(), netip.MustParseAddr(to), 10*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			for p.Sent() < 20 {
				time.Sleep(time.Millisecond)
			}
			stop()
		}()
		p.Run(ctx)
		if sent, lost := p.Sent(), p.Lost(); answered && lost > 0 || !answered && lost < sent {
			t.Errorf("%d of %d packets to %s are said to be lost", lost, sent, to)
		}
	}
}

func set(n *netns.NS, change func(netlink.Link) error) {
	n.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return change(l)
	})
}
