package fastpath

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// At links of its own weft's programs are filters of tc. By tcx the kernel waits until
// no CPU looks at the former list of programs (tcx_entry_sync in the kernel's
// include/net/tcx.h), when a program comes and when its link goes, and holds the lock
// of all links meanwhile: measured 7 and 17 ms, and each docker run took 60 ms longer.
// A filter costs 0.2 and 4 ms. But while its place is made (a qdisc) the kernel drops
// what the link sends: so at links by which something is sent already, as after an update
// from a weft without filters and at the underlay's interface, programs hang by tcx, and
// are filters only where the kernel has none.

// The place of weft's filter at a link: the last priority, so what somebody else hangs
// there sees each packet first.
const (
	filterPriority = 1<<16 - 1
	filterHandle   = 1
)

// attachFilter hangs a program at a link as a filter that is called after the hook, in
// the place of those of weft's that it has.
func attachFilter(want *ebpf.Program, id ebpf.ProgramID, have []*netlink.BpfFilter, index int, hook Hook) (changed bool, err error) {
	if len(have) == 1 && have[0].Id == int(id) {
		return false, nil
	}
	if len(have) == 0 {
		if err := addQdisc(index, hook); err != nil {
			return true, lackingKind(err, "CONFIG_NET_SCH_INGRESS")
		}
	}
	err = netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS,
			Handle: filterHandle, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: want.FD(), Name: hook.String(), DirectAction: true,
	})
	if err != nil {
		return true, lackingKind(err, "CONFIG_NET_CLS_BPF")
	}
	return true, detachOrdered(index) // of a weft that had its programs there by tcx
}

// addQdisc makes what filters hang at, if there is none. Where others may have filters it
// is one for both directions, as most who want either expect. It stays there without
// filters: others may count on it, and with each that comes or goes these kernels drop
// what the interface sends meanwhile.
func addQdisc(index int, hook Hook) error {
	at := netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}
	var q netlink.Qdisc = &netlink.Ingress{QdiscAttrs: at}
	if hook == FromWire {
		q = &netlink.Clsact{QdiscAttrs: at}
	}
	if err := netlink.QdiscAdd(q); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// detachFilters takes weft's programs of that kind from a link.
func detachFilters(index int) error {
	have, err := filters(index)
	errs := []error{err}
	for _, f := range have {
		if err := netlink.FilterDel(f); err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("remove program %s from link %d: %w", f.Name, index, err))
		}
	}
	return errors.Join(errs...)
}

// filters lists weft's programs of that kind at a link.
func filters(index int) (out []*netlink.BpfFilter, err error) {
	all, err := filtersOf(index, netlink.HANDLE_MIN_INGRESS)
	for _, f := range all {
		if Own(f) {
			out = append(out, f.(*netlink.BpfFilter)) //nolint:forcetypeassert // Own says so
		}
	}
	return out, err
}

// Own says that a filter of tc is one of weft's.
func Own(f netlink.Filter) bool {
	b, ok := f.(*netlink.BpfFilter)
	return ok && strings.HasPrefix(b.Name, prefix)
}

// filtersOf lists all filters of one side of a link.
func filtersOf(index int, side uint32) (all []netlink.Filter, err error) {
	const attempts = 10 // a dump may be overtaken by a change
	for range attempts {
		at := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
		all, err = netlink.FilterList(at, side)
		if !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !gone(err) {
		return nil, fmt.Errorf("list filters at link %d: %w", index, err)
	}
	return all, nil
}

// lackingKind says which part of the kernel is missing, for which its own word is that
// something does not exist.
func lackingKind(err error, config string) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: the kernel was built without %s, or its module is not there", err, config)
	}
	return err
}

// gone says that a link or filter is not there (any more), or that the kernel has none.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP)
}
