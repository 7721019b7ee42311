package dataplane

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-net/weft/driver/overlay"
)

// dockerOverlay is the name of a namespace in which Docker's own overlay has a
// network's tunnel: "1-" and the beginning of its id (libnetwork, drivers/overlay,
// network.initSandbox).
var dockerOverlay = regexp.MustCompile(`^[0-9]+-[0-9a-z]{10}$`)

// lookAround finds out what the border takes from the kernel, with verify or if
// it is not known.
func (d *Dataplane) lookAround(cfg overlay.Config, verify bool) error {
	if !verify && d.surroundings.known && d.surroundings.vtep == cfg.VTEP && d.surroundings.port == cfg.Port {
		return nil
	}
	s := surroundings{known: true, vtep: cfg.VTEP, port: cfg.Port}
	var err error
	if s.link, err = d.linkOf(cfg.VTEP); err != nil {
		return err
	}
	if s.shared, err = d.sharesPort(cfg.Port); err != nil {
		return err
	}
	d.surroundings = s
	return nil
}

// wantBorder gives the border of a pass: what cfg asks for, and the VNIs of the
// networks that the pass has yet to remove. A VNI stays weft's as long as a tunnel
// has it.
func (d *Dataplane) wantBorder(cfg overlay.Config) *border {
	want := borderOf(cfg)
	for _, a := range d.applied {
		want.vnis[a.config.VNI] = true
	}
	return d.asFound(want)
}

// asFound adds to a border what was found around.
func (d *Dataplane) asFound(b *border) *border {
	b.link, b.shared = d.surroundings.link, d.surroundings.shared
	return b
}

// surroundings is what the border takes from the kernel.
type surroundings struct {
	known  bool
	vtep   netip.Addr
	port   uint16
	link   string
	shared bool
}

// linkOf names the link that has the address, unless it only holds addresses;
// "": there is none.
func (d *Dataplane) linkOf(vtep netip.Addr) (string, error) {
	addrs, err := d.hostAddrs(nil)
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if a.prefix.Addr() != vtep {
			continue
		}
		l, err := d.hostLink(func(h *netlink.Handle) (netlink.Link, error) { return h.LinkByIndex(a.index) })
		if err != nil || l == nil {
			return "", err
		}
		if !virtual(l) {
			return l.Attrs().Name, nil
		}
	}
	return "", nil
}

// sharesPort says whether another overlay has a tunnel on the port: a VXLAN
// device in the host's namespace, where weft has none, or in one of Docker's own
// overlay.
func (d *Dataplane) sharesPort(port uint16) (bool, error) {
	links, err := d.host.links()
	if err != nil {
		return false, err
	}
	if hasTunnel(links, port) {
		return true, nil
	}
	files, _ := os.ReadDir(d.dockerDir) // without Docker there is none
	for _, f := range files {
		if !dockerOverlay.MatchString(f.Name()) {
			continue
		}
		// What is no namespace yet, or not any more, has no tunnel.
		if ns, err := lookInto(filepath.Join(d.dockerDir, f.Name())); err == nil && hasTunnel(ns.links, port) {
			return true, nil
		}
	}
	return false, nil
}

func hasTunnel(links map[string]netlink.Link, port uint16) bool {
	for _, l := range links {
		if v, ok := l.(*netlink.Vxlan); ok && v.Port == int(port) {
			return true
		}
	}
	return false
}

// linksIn gives all devices of another namespace by name.
func linksIn(ns netns.NsHandle) (map[string]netlink.Link, error) {
	h, err := openHandle(ns)
	if err != nil {
		return nil, err
	}
	defer h.close()
	return h.links()
}
