package dataplane_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane"
)

// stranger is a program that does nothing but give a verdict.
func stranger(t *testing.T, name string, kind ebpf.ProgramType, verdict int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: kind, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// at calls f with the index of a link of the host, in its namespace.
func (h *host) at(name string, f func(index int) (link.Link, error)) (off func()) {
	h.tb.Helper()
	var index int
	h.ns.Netlink(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(name)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	var on link.Link
	h.ns.Do(func() (err error) {
		on, err = f(index)
		return err
	})
	off = func() { _ = on.Close() } // a second time it is closed already
	h.tb.Cleanup(off)
	return off
}

// hasTCX says whether the kernel has the order of programs at links that came with 6.6.
// A later one without is not fit for these tests.
func hasTCX(t *testing.T) bool {
	t.Helper()
	version, err := features.LinuxVersionCode()
	if err != nil {
		t.Fatal(err)
	}
	_, err = link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress})
	has := !errors.Is(err, unix.EINVAL)
	if since := version >= 6<<16|6<<8; has != since {
		t.Fatalf("whether this kernel, %d.%d, has tcx: %v", version>>16, version>>8&0xff, err)
	}
	return has
}

// filter hangs a program at a link of the host that has a clsact qdisc, as tc does.
func (h *host) filter(name string, side uint32, called string, p *ebpf.Program) {
	h.tb.Helper()
	h.ns.Netlink(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(name)
		if err != nil {
			return err
		}
		return nl.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: side, Priority: 2, Protocol: unix.ETH_P_ALL},
			Fd:          p.FD(), Name: called, DirectAction: true,
		})
	})
}

// Values of linux/bpf.h and linux/pkt_cls.h.
const (
	xdpDrop = 1
	xdpPass = 2
	tcNext  = -1
)

func (h *host) hooked(name string) []string {
	h.tb.Helper()
	i, err := dataplane.NewInspector(dataplane.Options{HostNetns: h.ns.Path(), NetnsDir: h.dir})
	if err != nil {
		h.tb.Fatal(err)
	}
	defer i.Close()
	list, err := i.HookedAt(name)
	if err != nil {
		h.tb.Fatal(err)
	}
	var out []string
	for _, o := range list {
		what, _, _ := strings.Cut(o.What, " (id ")
		out = append(out, o.Link+": "+o.Hook+": "+what)
	}
	return out
}

// Whoever has a program at the underlay's interface is named, and weft's own are not.
func TestSomebodyElsesProgramsAreNamed(t *testing.T) {
	hosts, near, _, far := pair(t)
	far.echo(t)
	h, to := hosts[0], far.port.Addrs[0].Addr()
	want := func(when string, lines ...string) {
		t.Helper()
		if d := cmp.Diff(lines, h.hooked("eth0")); d != "" {
			t.Errorf("%s (-want +named):\n%s", when, d)
		}
		if err := near.talks("tcp", to, 1000); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	want("nobody is there")
	pass := stranger(t, "shield", ebpf.XDP, xdpPass)
	off := h.at("eth0", func(index int) (link.Link, error) {
		return link.AttachXDP(link.XDPOptions{Program: pass, Interface: index, Flags: link.XDPGenericMode})
	})
	want("an XDP program", "eth0: XDP: program shield")
	off()
	for side, at := range map[string]ebpf.AttachType{"ingress": ebpf.AttachTCXIngress, "egress": ebpf.AttachTCXEgress} {
		if !hasTCX(t) {
			break // only filters are left
		}
		next := stranger(t, "count_"+side, ebpf.SchedCLS, tcNext)
		off := h.at("eth0", func(index int) (link.Link, error) {
			return link.AttachTCX(link.TCXOptions{Program: next, Attach: at, Interface: index})
		})
		want("a program at tcx", "eth0: tcx "+side+": program count_"+side)
		off()
	}
	must(t, h.ns, "tc", "qdisc", "replace", "dev", "eth0", "clsact") // weft's may be there
	must(t, h.ns, "tc", "filter", "add", "dev", "eth0", "egress", "protocol", "ip", "prio", "1", "u32", "match", "u32", "0", "0", "classid", "1:1")
	h.filter("eth0", netlink.HANDLE_MIN_EGRESS, "shape", stranger(t, "shape", ebpf.SchedCLS, tcNext))
	want("filters of what leaves", "eth0: tc egress: a filter of kind u32", "eth0: tc egress: program shape")
	must(t, h.ns, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	h.verify()

	// What a bridge sends by.
	must(t, h.ns, "ip", "link", "add", "br9", "type", "bridge")
	must(t, h.ns, "ip", "link", "add", "leg0", "master", "br9", "type", "veth", "peer", "name", "leg1")
	h.at("leg0", func(index int) (link.Link, error) {
		return link.AttachXDP(link.XDPOptions{Program: pass, Interface: index, Flags: link.XDPGenericMode})
	})
	if got := h.hooked("br9"); !slices.Equal(got, []string{"leg0: XDP: program shield"}) {
		t.Errorf("at a bridge with a member that has a program: %q", got)
	}
	if got := h.hooked("none0"); got != nil {
		t.Errorf("at a link that is not there: %q", got)
	}
}

// A program that eats packets eats them whichever way they go, and is named.
func TestAProgramThatEatsPacketsIsNamed(t *testing.T) {
	hosts, near, _, far := pair(t)
	far.echo(t)
	h, to := hosts[0], far.port.Addrs[0].Addr()
	eat := stranger(t, "eats", ebpf.XDP, xdpDrop)
	off := h.at("eth0", func(index int) (link.Link, error) {
		return link.AttachXDP(link.XDPOptions{Program: eat, Interface: index, Flags: link.XDPGenericMode})
	})
	if err := near.talks("udp", to, 10); err == nil {
		t.Error("nothing is lost, so nothing is tested")
	}
	if got := h.hooked("eth0"); !slices.Equal(got, []string{"eth0: XDP: program eats"}) {
		t.Errorf("named: %q", got)
	}
	off()
	if err := near.talks("tcp", to, 1000); err != nil {
		t.Errorf("without it: %v", err)
	}
}

// tc filters at the ingress would not see what takes the fast path, so nothing takes it.
func TestFiltersOfOthersCloseTheFastPath(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	h, to := hosts[0], far.port.Addrs[0].Addr()
	must(t, h.ns, "tc", "qdisc", "replace", "dev", "eth0", "clsact") // weft's may be there
	h.filter("eth0", netlink.HANDLE_MIN_INGRESS, "look", stranger(t, "look", ebpf.SchedCLS, tcNext))
	h.verify()
	before := h.fastState()
	if before.Why.Cause != dataplane.CauseOthers {
		t.Fatalf("with a filter: %+v", before)
	}
	if err := near.talks("tcp", to, 1<<16); err != nil {
		t.Errorf("with a filter: %v", err)
	}
	if now := h.fastState(); now.Sent != before.Sent || now.Received != before.Received {
		t.Errorf("from %+v to %+v", before, now)
	}
	must(t, h.ns, "tc", "qdisc", "del", "dev", "eth0", "clsact")
	h.verify()
	if err := near.talks("tcp", to, 1<<16); err != nil || h.fastState().Sent == before.Sent || h.fastState().Received == before.Received {
		t.Errorf("without it: %v, %+v", err, h.fastState())
	}
}

// A filter of weft's own, as at the underlay's interface of a kernel without tcx, is
// nobody else's.
func TestAFilterOfWeftsIsNobodyElses(t *testing.T) {
	needFast(t)
	hosts, _, _, _ := pair(t)
	h := hosts[0]
	must(t, h.ns, "tc", "qdisc", "replace", "dev", "eth0", "clsact")
	h.filter("eth0", netlink.HANDLE_MIN_INGRESS, "weft_from_wire", stranger(t, "weft_from_wire", ebpf.SchedCLS, tcNext))
	h.verify()
	if s := h.fastState(); s.Why.Cause != "" {
		t.Errorf("it closes the fast path: %+v", s.Why)
	}
	if got := h.hooked("eth0"); got != nil {
		t.Errorf("it is told of: %q", got)
	}
}
