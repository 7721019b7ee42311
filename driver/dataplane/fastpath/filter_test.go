package fastpath

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/netns"
)

// underlay is an interface, with a kernel that has no tcx.
type underlay struct {
	*testing.T
	ns    *netns.NS
	link  netlink.Link
	plane *Plane
}

func newUnderlay(t *testing.T) underlay {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	p.tcx = false
	u := underlay{T: t, ns: netns.New(t), plane: p}
	netns.Link(u.ns, "eth0", netns.New(t), "peer0")
	u.ns.Do(func() (err error) {
		u.link, err = netlink.LinkByName("eth0")
		return err
	})
	return u
}

func (u underlay) attach() (changed bool) {
	u.Helper()
	u.ns.Do(func() (err error) {
		changed, err = u.plane.Attach(FromWire, 0, u.link.Attrs().Index, false)
		return err
	})
	return changed
}

func (u underlay) detach() {
	u.Helper()
	u.ns.Do(func() error { return Detach(u.link.Attrs().Index) })
}

// others hangs somebody else's program at a priority, whose qdisc is there.
func (u underlay) others(name string, priority uint16) {
	u.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		u.Fatal(err)
	}
	defer p.Close()
	u.ns.Do(func() error {
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: u.link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: priority, Protocol: unix.ETH_P_ALL},
			Fd:          p.FD(), Name: name, DirectAction: true,
		})
	})
}

// filters are names of filters, in the order in which they see each packet.
func (u underlay) filters() (out []string) {
	u.Helper()
	u.ns.Do(func() error {
		all, err := netlink.FilterList(u.link, netlink.HANDLE_MIN_INGRESS)
		for _, f := range all {
			out = append(out, f.(*netlink.BpfFilter).Name)
		}
		return err
	})
	return out
}

func (u underlay) want(when string, names ...string) {
	u.Helper()
	if got := u.filters(); !slices.Equal(got, names) {
		u.Errorf("%s: filters %q, want %q", when, got, names)
	}
}

// Where the kernel has no tcx the program at the underlay's interface is a filter, behind
// those of others, whether they come before or after.
func TestTheProgramAtTheUnderlayIsTheLastFilter(t *testing.T) {
	u := newUnderlay(t)
	if !u.attach() {
		t.Error("it was there before")
	}
	if u.attach() {
		t.Error("it changes again")
	}
	u.others("early", 1)
	u.others("late", 1<<16-2)
	u.want("others come", "early", "late", "weft_from_wire")
	u.plane = newUnderlay(t).plane // of another process
	if !u.attach() {
		t.Error("the former process's program stays")
	}
	u.want("the next process", "early", "late", "weft_from_wire")
	u.detach()
	u.want("it is taken away", "early", "late")
	if !u.attach() {
		t.Error("it was there before")
	}
	u.want("it comes again", "early", "late", "weft_from_wire")
}

// A qdisc that is there stays, of whichever kind, and that which weft makes is one for
// both directions: with each that comes or goes packets are lost.
func TestTheQdiscAtTheUnderlayStays(t *testing.T) {
	for kind, with := range map[string]netlink.Qdisc{"clsact": nil, "ingress": &netlink.Ingress{}} {
		u := newUnderlay(t)
		if with != nil {
			*with.Attrs() = netlink.QdiscAttrs{LinkIndex: u.link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}
			u.ns.Do(func() error { return netlink.QdiscAdd(with) })
		}
		u.attach()
		u.want(kind, "weft_from_wire")
		u.detach()
		u.want(kind)
		var kinds []string
		u.ns.Do(func() error {
			all, err := netlink.QdiscList(u.link)
			for _, q := range all {
				if q.Attrs().Parent == netlink.HANDLE_INGRESS {
					kinds = append(kinds, q.Type())
				}
			}
			return err
		})
		if !slices.Equal(kinds, []string{kind}) {
			t.Errorf("left are the qdiscs %q, want %s", kinds, kind)
		}
	}
}
