package dataplane

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-net/weft/driver/overlay"
)

// pass is one look at one network's namespace.
type pass struct {
	d      *Dataplane
	cfg    overlay.Config
	n      overlay.NetworkConfig
	verify bool
	closed bool // the host's table is not there: the tunnel must not be up
	tell   bool // n is what was applied before, so what differs is drift

	ns    netns.NsHandle
	h     *handle
	links map[string]netlink.Link
	flags map[int]portFlags    // bridge ports as found, by link index; nil until needed
	were  map[string]portFlags // bridge ports as the last pass left them, by link; nil if that is not known
	left  map[string]portFlags // as this pass leaves them
	fresh map[string]bool      // links whose tables this pass emptied, most by making them
	fixed []string             // what was not as wanted

	refuses int // index of the port that refuses; 0: there is none
}

// setNetwork makes the kernel hold n. old is what the last pass left, zero if
// that is not known. fixed says what had drifted, if n is what was applied before.
func (d *Dataplane) setNetwork(ctx context.Context, cfg overlay.Config, n overlay.NetworkConfig, old applied, verify, border, fast bool) (now applied, fixed []string, err error) {
	p := &pass{d: d, cfg: cfg, n: n, verify: verify || old.config.ID == "", closed: !border, fresh: map[string]bool{}, were: old.flags, left: map[string]portFlags{}}
	p.tell = old.config.Equal(n)
	ns, made, err := d.openNamespace(n.ID)
	if err != nil {
		return applied{}, nil, err
	}
	defer ns.Close()
	p.ns = ns
	if made {
		p.fix("namespace of network %s was missing", n.ID)
	}
	if p.h, err = openHandle(ns); err != nil {
		return applied{}, p.fixed, fmt.Errorf("open netlink: %w", err)
	}
	defer p.h.close()
	if p.links, err = p.h.links(); err != nil {
		return applied{}, p.fixed, err
	}
	if err := p.mark(); err != nil {
		return applied{}, p.fixed, err
	}
	if p.verify && !made {
		if err := p.sysctls(); err != nil {
			return applied{}, p.fixed, err
		}
	}

	if err := p.bridge(); err != nil {
		return applied{}, p.fixed, err
	}
	if err := p.tunnel(ctx); err != nil {
		return applied{}, p.fixed, err
	}
	if err := p.makeRoom(); err != nil {
		return applied{}, p.fixed, err
	}
	refuses, refusalErr := p.refusal()
	if refuses {
		p.refuses = p.links[overlay.RefusePort].Attrs().Index
	}
	portErr := p.ports(ctx)
	guardErr := p.guard(old)
	upErr := p.portsUp(guardErr)
	now.entries, err = p.entries(old, refuses)
	if err := errors.Join(refusalErr, portErr, guardErr, upErr, err, p.strays()); err != nil {
		return applied{}, p.fixed, err
	}
	p.fast(now.entries, fast)
	now.vtep, now.port, now.config, now.flags = cfg.VTEP, cfg.Port, n, p.left
	return now, p.fixed, nil
}

// fix notes what was not as wanted, if anybody wants to know: a pass that
// follows a change finds thousands of things to do.
func (p *pass) fix(format string, args ...any) {
	if !p.tell {
		return
	}
	p.fixed = append(p.fixed, fmt.Sprintf(format, args...))
}

// entries brings the forwarding tables to what is wanted and returns that.
// Without verify, and if no device is new, only the difference to what the last
// pass left is sent.
func (p *pass) entries(old applied, refuses bool) ([]entry, error) {
	n := p.n
	if !refuses {
		n.Gone = nil
	}
	want := entries(n, func(port overlay.Port) bool {
		_, ok := p.links[overlay.PortLink(port.Endpoint)]
		return ok
	})
	have := old.entries
	if p.verify || p.fresh[overlay.Bridge] || p.fresh[overlay.VXLAN] {
		var err error
		if have, err = p.h.readEntries(p.links); err != nil {
			return nil, err
		}
	} else if len(p.fresh) > 0 {
		have = without(have, p.fresh)
	}
	add, del := diff(want, have)
	if p.cfg.Partial {
		del = nil
	}
	changes := make([]change, 0, len(add)+len(del))
	for _, e := range add {
		changes = append(changes, change{entry: e, index: p.links[e.link].Attrs().Index})
		p.fix("%s of network %s was missing", e, p.n.ID)
	}
	for _, e := range del {
		if l, ok := p.links[e.link]; ok {
			changes = append(changes, change{entry: e, index: l.Attrs().Index, del: true})
			p.fix("%s of network %s was not weft's", e, p.n.ID)
		}
	}
	if err := p.h.apply(changes); err != nil {
		return want, err
	}
	if p.fresh[overlay.Bridge] {
		return want, nil // nobody has heard of any MAC yet
	}
	return want, p.tellMoved(moved(p.n, have, add, del))
}

// without leaves out the entries of links whose tables are empty.
func without(entries []entry, links map[string]bool) []entry {
	var out []entry
	for _, e := range entries {
		if !links[e.link] {
			out = append(out, e)
		}
	}
	return out
}

// strays deletes ports that no endpoint wants. The other end goes with them.
func (p *pass) strays() error {
	list := p.unwanted()
	for _, l := range list {
		p.fix("link %s of network %s was not wanted", l.Attrs().Name, p.n.ID)
	}
	return p.h.removeAll(list)
}

// unwanted gives the ports that no endpoint wants.
func (p *pass) unwanted() []netlink.Link {
	if p.cfg.Partial {
		return nil
	}
	wanted := map[string]bool{}
	for _, port := range p.n.Ports {
		wanted[overlay.PortLink(port.Endpoint)] = true
	}
	var list []netlink.Link
	for name, l := range p.links {
		if overlay.IsPortLink(name) && !wanted[name] {
			list = append(list, l)
		}
	}
	return list
}

// makeRoom takes the ports that no endpoint wants off a bridge that has no room for all
// that are to come. Else such ports go last, which nobody waits for.
func (p *pass) makeRoom() error {
	ports, br := 1, p.links[overlay.Bridge].Attrs().Index // RefusePort may come
	for _, l := range p.links {
		if l.Attrs().MasterIndex == br {
			ports++
		}
	}
	for _, port := range p.n.Ports {
		if p.links[overlay.PortLink(port.Endpoint)] == nil {
			ports++
		}
	}
	if ports <= overlay.BridgePorts {
		return nil
	}
	for _, l := range p.unwanted() {
		if l.Attrs().MasterIndex != br {
			continue
		}
		if err := p.h.LinkSetNoMaster(l); err != nil {
			return fmt.Errorf("take %s off the bridge: %w", l.Attrs().Name, err)
		}
		p.fresh[l.Attrs().Name] = true // its forwarding entries are gone
	}
	return nil
}

// sysctls checks the namespace's settings.
func (p *pass) sysctls() error {
	br := "net/ipv6/conf/" + overlay.Bridge
	want := slices.Concat(namespaceSysctls, []sysctl{{br + "/disable_ipv6", "0"}, {br + "/addr_gen_mode", "1"}, {br + "/accept_ra", "0"}})
	return visit(p.ns, func() error {
		written, err := setSysctls(want)
		for _, s := range written {
			p.fix("sysctl %s of network %s was changed", s, p.n.ID)
		}
		return err
	})
}
