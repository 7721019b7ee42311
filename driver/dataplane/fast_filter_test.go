package dataplane_test

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// atPort runs f in the namespace of the network with the link of a container's port.
func (h *host) atPort(c *container, f func(l netlink.Link) error) {
	h.tb.Helper()
	netns.In(h.tb, h.path("net1"), func(ns *netns.NS) {
		ns.Do(func() error {
			l, err := netlink.LinkByName(overlay.PortLink(c.port.Endpoint))
			if err != nil {
				return err
			}
			return f(l)
		})
	})
}

// A weft that had its programs at ports by tcx is taken over from: that program, which
// here drops everything, goes as soon as this weft's is there.
func TestProgramsByTCXAreTakenOverFrom(t *testing.T) {
	needFast(t)
	if !hasTCX(t) {
		t.Skip("this kernel has no tcx, so no weft has had programs there by it")
	}
	hosts, near, _, far := pair(t)
	far.echo(t)
	h, to := hosts[0], far.port.Addrs[0].Addr()
	h.dp.Close()
	former := stranger(t, "weft_from_port", ebpf.SchedCLS, 2) // TC_ACT_SHOT
	h.atPort(near, func(l netlink.Link) error {
		return link.RawAttachProgram(link.RawAttachProgramOptions{Target: l.Attrs().Index, Program: former, Attach: ebpf.AttachTCXIngress})
	})
	if err := near.talks("udp", to, 100); err == nil {
		t.Fatal("the former program drops nothing")
	}
	h.restart()
	h.set()
	before := h.fastState()
	if err := near.talks("tcp", to, 1<<16); err != nil {
		t.Error(err)
	}
	if h.fastState().Sent == before.Sent {
		t.Error("nothing takes the fast path")
	}
	h.atPort(near, func(l netlink.Link) error {
		if all := programsAt(l); len(all) != 1 {
			t.Errorf("programs %v are at the port, want one", all)
		}
		return nil
	})
}

// What somebody else hangs at a port sees each packet first, and stays.
func TestAnothersFilterAtAPortStays(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	h, to := hosts[0], far.port.Addrs[0].Addr()
	others := stranger(t, "others", ebpf.SchedCLS, 2) // TC_ACT_SHOT
	h.atPort(near, func(l netlink.Link) error {
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 7, Protocol: unix.ETH_P_ALL,
			},
			Fd: others.FD(), Name: "others", DirectAction: true,
		})
	})
	drops := func(when string) {
		t.Helper()
		if r := h.verify(); r.Repairs != 0 {
			t.Errorf("%s: repaired %q", when, r.Repaired)
		}
		if err := near.talks("udp", to, 100); err == nil {
			t.Errorf("%s: what it drops came through", when)
		}
	}
	drops("at first")
	h.dp.Close()
	h.restart()
	h.set()
	drops("after a restart")
}
