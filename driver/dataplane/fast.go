package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-net/weft/driver/dataplane/fastpath"
	"github.com/weft-net/weft/driver/overlay"
)

// FastPath says whether packets may go around bridge, tunnel and netfilter.
type FastPath string

// What a person can choose.
const (
	FastAuto FastPath = "auto" // where the kernel can
	FastOn   FastPath = "on"   // or weft does not start
	FastOff  FastPath = "off"
)

// ErrNoFastPath is given by New if there has to be a fast path and the kernel has none.
var ErrNoFastPath = errors.New("this kernel has no fast path")

// openFor is how long the fast path stays open after a pass. A verifying pass comes
// every few seconds; when none does, weft is gone or hangs, and nobody keeps the
// tables.
const openFor = 30 * time.Second

// tunnelOverhead is what a tunnel over IPv4 adds to a packet of the network: Ethernet,
// VXLAN, UDP and IPv4 headers (RFC 7348 section 5).
const tunnelOverhead = 14 + 8 + 8 + 20

// fast is the fast path of this host.
type fast struct {
	tried      bool                 // to load the programs, which is done once
	plane      *fastpath.Plane      // nil: they are not loaded
	uplink     int                  // index of the link at whose ingress it hangs, or is to hang; 0: nowhere
	hang       bool                 // its program is to be hung there, or looked for
	host       fastpath.Host        // as the programs were told last
	why        Hindrance            // there is none because of it
	slow       map[string]Hindrance // networks do without because of it, by id
	late       map[string]bool      // networks with ports that have not arrived, by id
	ways       map[netip.Addr]hop
	neighbours neighbours
	told       atomic.Pointer[toldFast]
	swept      bool // what an earlier process left at the interface is gone
}

// toldFast is what is told of the fast path after a pass.
type toldFast struct {
	FastState
	plane      *fastpath.Plane
	neighbours toldNeighbours
}

// openFast makes ready for the fast path. Only where it must be there are its programs
// loaded at once: else the first pass does so, for that takes a while on a busy machine,
// and Docker waits half a second for weft to listen.
func (d *Dataplane) openFast(mode FastPath) error {
	d.fast.slow, d.fast.late, d.fast.ways = map[string]Hindrance{}, map[string]bool{}, map[netip.Addr]hop{}
	d.fast.neighbours = newNeighbours()
	switch mode {
	case FastOff:
		d.fast.tried, d.fast.why = true, Hindrance{CauseOff, "it is off, see --fast-path"}
	case FastOn:
		if err := d.fast.load(); err != nil {
			return fmt.Errorf("%w: %w", ErrNoFastPath, err)
		}
	case FastAuto:
	}
	return nil
}

// load loads the programs, the first time that it is called.
func (f *fast) load() (err error) {
	if f.tried {
		return nil
	}
	f.tried = true
	f.plane, err = fastpath.Open()
	return err
}

// fastHost brings the fast path to the host's interface, and says whether networks may
// take it. Without a border nothing does.
func (d *Dataplane) fastHost(cfg overlay.Config, verify, border bool) bool {
	f := &d.fast
	if cfg.Partial { // what is there stays as it is
		return false
	}
	if verify {
		clear(f.ways)
	}
	if err := f.load(); err != nil {
		f.why = Hindrance{CauseKernel, err.Error()}
	}
	why, err := f.why, error(nil)
	switch {
	case f.plane == nil:
	case len(cfg.Networks) == 0:
		why = Hindrance{CauseIdle, "no network has a container here"}
	case !border:
		why = Hindrance{CauseFault, "this host has no border, see the errors of its passes"}
	case !cfg.VTEP.Is4():
		why = Hindrance{CauseHost, "the underlay is IPv6"}
	default:
		why, err = d.fastUplink(cfg, verify)
	}
	if err != nil {
		why = Hindrance{CauseFault, err.Error()}
	}
	f.why, err = why, nil
	if why.hinders() {
		err = d.leaveUplink()
		if f.plane != nil {
			err = errors.Join(err, f.plane.Shut())
		}
	}
	if err := errors.Join(err, d.sweepUplinks()); err != nil { // a kernel without programs at links has none to take away
		d.log.WithError(err).Debug("It cannot be told whether the fast path is away from interfaces that are not to have it; it ends by itself.")
	}
	return !why.hinders()
}

// fastUplink hangs the program at the interface that has the VTEP, and says why not.
func (d *Dataplane) fastUplink(cfg overlay.Config, verify bool) (why Hindrance, err error) {
	f := &d.fast
	if d.surroundings.link == "" {
		return Hindrance{CauseHost, fmt.Sprintf("no interface that carries packets has address %s", cfg.VTEP)}, nil
	}
	l, err := d.hostLink(func(h *netlink.Handle) (netlink.Link, error) { return h.LinkByName(d.surroundings.link) })
	if err != nil || l == nil {
		return Hindrance{CauseHost, fmt.Sprintf("interface %s has just gone", d.surroundings.link)}, err
	}
	at := l.Attrs()
	if at.EncapType != "ether" {
		return Hindrance{CauseHost, fmt.Sprintf("interface %s carries no Ethernet", at.Name)}, nil
	}
	if has, err := d.hasIPsec(); err != nil || has {
		return Hindrance{CauseHost, "this host has IPsec policies, which the packets would go around"}, err
	}
	if f.uplink != 0 && f.uplink != at.Index {
		if err := d.leaveUplink(); err != nil {
			return why, err
		}
	}
	host := fastpath.Host{VTEP: cfg.VTEP, Port: cfg.Port, Uplink: at.Index, MAC: macOf(l)}
	if err := f.plane.SetHost(host); err != nil {
		return why, err
	}
	f.host = host
	if f.uplink == at.Index && !verify {
		return why, nil
	}
	f.neighbours.nic, f.neighbours.why = directNIC(&Inspector{hostNS: d.hostNS, host: d.host}, l)
	others, err := dump(func() ([]netlink.Filter, error) { return d.host.FilterList(l, netlink.HANDLE_MIN_INGRESS) })
	if err == nil && slices.ContainsFunc(others, func(f netlink.Filter) bool { return !fastpath.Own(f) }) {
		return Hindrance{CauseOthers, fmt.Sprintf("somebody else's tc filters look at what comes in by %s, and would not see it", at.Name)}, nil
	}
	f.uplink, f.hang = at.Index, err == nil
	return why, err
}

// hangUplink hangs the program at the interface, in the place of an earlier process's.
// That one goes on until the tables of this one are full, since what other hosts send
// without a tunnel has no other way.
func (f *fast) hangUplink(host netns.NsHandle) error {
	if !f.hang {
		return nil
	}
	err := visit(host, func() error {
		_, err := f.plane.Attach(fastpath.FromWire, 0, f.uplink, false)
		return err
	})
	f.hang = err != nil
	return err
}

// leaveUplink takes the program from the interface where this process has hung it.
func (d *Dataplane) leaveUplink() error {
	if d.fast.uplink == 0 {
		return nil
	}
	err := visit(d.hostNS, func() error { return fastpath.Detach(d.fast.uplink) })
	if err == nil {
		d.fast.uplink, d.fast.hang = 0, false
	}
	return err
}

// sweepUplinks takes the programs away that an earlier process has hung at other
// interfaces of the host, once.
func (d *Dataplane) sweepUplinks() error {
	if d.fast.swept {
		return nil
	}
	links, err := d.host.links()
	if err != nil {
		return err
	}
	err = visit(d.hostNS, func() error {
		var errs []error
		for name, l := range links {
			if index := l.Attrs().Index; index != d.fast.uplink && !overlay.IsFastOuter(name) {
				errs = append(errs, fastpath.Detach(index))
			}
		}
		return errors.Join(errs...)
	})
	d.fast.swept = true // what could not be taken away ends by itself
	return err
}

// fastEnd keeps the fast path open after a pass, and forgets networks that are gone.
func (d *Dataplane) fastEnd(cfg overlay.Config, open bool) {
	f := &d.fast
	for id := range f.slow {
		if !slices.ContainsFunc(cfg.Networks, func(n overlay.NetworkConfig) bool { return n.ID == id }) {
			delete(f.slow, id)
		}
	}
	maps.DeleteFunc(f.late, func(id string, _ bool) bool {
		return !slices.ContainsFunc(cfg.Networks, func(n overlay.NetworkConfig) bool { return n.ID == id })
	})
	f.neighbours.forget(cfg)
	if f.plane != nil && !cfg.Partial {
		d.keepFast(cfg, open)
	}
	f.told.Store(&toldFast{FastState{Why: f.why, Slow: maps.Clone(f.slow)}, f.plane, f.neighbours.tell(f)})
}

// keepFast forgets networks that are gone and keeps the fast path open, or closes it.
func (d *Dataplane) keepFast(cfg overlay.Config, open bool) {
	f := &d.fast
	wanted := map[uint32]bool{}
	for _, n := range cfg.Networks {
		wanted[n.VNI] = true
	}
	var errs []error
	for _, vni := range f.plane.Networks() {
		if !wanted[vni] {
			errs = append(errs, f.plane.RemoveNetwork(vni))
		}
	}
	if err := errors.Join(errs...); err != nil {
		d.log.WithError(err).Warn("The fast path keeps a network that is gone, and is closed for it.")
		open, f.why = false, Hindrance{CauseFault, err.Error()}
	}
	if open {
		err := errors.Join(f.plane.Renew(openFor), f.hangUplink(d.hostNS))
		if err == nil {
			return
		}
		f.why = Hindrance{CauseFault, err.Error()}
	}
	if err := f.plane.Shut(); err != nil {
		d.log.WithError(err).Debug("The fast path ends by itself.")
	}
}

// near says whether packets of so many bytes leave for the VTEP by the underlay's
// interface.
func (d *Dataplane) near(src, vtep netip.Addr, size int) bool {
	way, known := d.fast.ways[vtep]
	if !known {
		links, err := d.host.byIndex()
		if err != nil {
			return false
		}
		hops := d.hopsTo(links, src, vtep)
		if len(hops) > 0 && !slices.ContainsFunc(hops, func(h hop) bool { return h.index != d.fast.uplink }) {
			way = slices.MinFunc(hops, func(a, b hop) int { return a.mtu - b.mtu })
			way.routed = slices.ContainsFunc(hops, func(h hop) bool { return h.routed })
		}
		d.fast.ways[vtep] = way
	}
	return way.index != 0 && size <= way.mtu
}
