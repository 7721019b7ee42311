package dataplane

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/dataplane/fastpath"
)

// Hooked is something of somebody else's that sees the packets of a link before the
// host's stack does, or after it, and may change or drop them.
type Hooked struct {
	Link string // of the host
	Hook string // XDP, tcx ingress, tc ingress, tcx egress or tc egress
	What string // the program by name and id, or the kind of filter
}

// HookedAt lists what is at the link of that name and at those that it sends by: the
// members of a bond or bridge, and what a VLAN is on. Programs of weft are left out.
func (i *Inspector) HookedAt(name string) ([]Hooked, error) {
	links, err := i.host.links()
	if err != nil {
		return nil, err
	}
	on := links[name]
	if on == nil {
		return nil, nil
	}
	at := []netlink.Link{on}
	for _, l := range links {
		if l.Attrs().MasterIndex == on.Attrs().Index || on.Type() == "vlan" && on.Attrs().ParentIndex == l.Attrs().Index {
			at = append(at, l)
		}
	}
	slices.SortFunc(at[1:], func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	var out []Hooked
	var errs []error
	for _, l := range at {
		err := i.hookedAt(l, func(hook, what string) { out = append(out, Hooked{l.Attrs().Name, hook, what}) })
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// hookedAt tells of one link.
func (i *Inspector) hookedAt(l netlink.Link, tell func(hook, what string)) error {
	at := l.Attrs()
	if at.Xdp != nil && at.Xdp.Attached {
		name, _ := fastpath.Name(at.Xdp.ProgId) // one that cannot be read has none
		tell("XDP", program(name, at.Xdp.ProgId))
	}
	var others []fastpath.Other
	err := visit(i.hostNS, func() (err error) {
		others, err = fastpath.Others(at.Index)
		return err
	})
	for _, o := range others {
		tell(o.Hook, program(o.Name, o.ID))
	}
	errs := []error{err}
	for _, side := range []struct {
		hook   string
		parent uint32
	}{{"tc ingress", netlink.HANDLE_MIN_INGRESS}, {"tc egress", netlink.HANDLE_MIN_EGRESS}} {
		filters, err := dump(func() ([]netlink.Filter, error) { return i.host.FilterList(l, side.parent) })
		if err != nil {
			errs = append(errs, fmt.Errorf("list tc filters of link %s: %w", at.Name, err))
		}
		var seen []string // a u32 filter is listed with the hash tables that it is in
		for _, f := range filters {
			if fastpath.Own(f) {
				continue
			}
			what := "a filter of kind " + f.Type()
			if b, ok := f.(*netlink.BpfFilter); ok {
				what = program(b.Name, uint32(b.Id)) //nolint:gosec // the kernel's id of a program
			}
			if !slices.Contains(seen, what) {
				tell(side.hook, what)
			}
			seen = append(seen, what)
		}
	}
	return errors.Join(errs...)
}

func program(name string, id uint32) string {
	if name == "" {
		return fmt.Sprintf("program %d without a name", id)
	}
	return fmt.Sprintf("program %s (id %d)", name, id)
}
