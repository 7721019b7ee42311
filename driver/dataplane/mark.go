package dataplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// markPrefix begins the alias of the loopback link in each namespace that weft
// makes; the network's id follows. A namespace counts as weft's by what is in
// it: others may have one with such a name.
const markPrefix = "weft network "

// markHere gives the calling thread's namespace weft's mark.
func markHere(network string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	return setMark(h, network)
}

func setMark(h *netlink.Handle, network string) error {
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetAlias(lo, markPrefix+network)
	}
	if err != nil {
		return fmt.Errorf("mark the namespace as weft's: %w", err)
	}
	return nil
}

// mark fails if the namespace is not weft's, and gives the mark to one of an
// earlier weft, which had none.
func (p *pass) mark() error {
	if marked(p.links) {
		return nil
	}
	if !weftMade(p.links) {
		return fmt.Errorf("namespace %s is there and is not weft's: it has neither weft's mark nor just the links that weft makes; give it another name or delete it", p.d.namespacePath(p.n.ID))
	}
	return setMark(p.h.Handle, p.n.ID)
}

func marked(links map[string]netlink.Link) bool {
	lo, ok := links["lo"]
	return ok && strings.HasPrefix(lo.Attrs().Alias, markPrefix)
}

// byItself matches links that the kernel makes in each new namespace if the
// module of their kind is loaded.
var byItself = regexp.MustCompile(`^(tunl|gre|gretap|erspan|ip_vti|ip6_vti|sit|ip6tnl|ip6gre)0$`)

// weftMade says whether the links are those of a network of weft's and nothing
// else: the bridge or the tunnel, and ports.
func weftMade(links map[string]netlink.Link) bool {
	ours := 0
	for name, l := range links {
		switch kind := l.Type(); {
		case name == overlay.Bridge && kind == "bridge", name == overlay.VXLAN && kind == "vxlan":
			ours++
		case kind == "veth" && (name == overlay.RefusePort || name == overlay.RefuseEnd || name == overlay.FastInner):
		case name == "lo", overlay.IsPortLink(name) && kind == "veth", byItself.MatchString(name):
		default:
			return false
		}
	}
	return ours > 0
}

// namespace is what a namespace file leads to.
type namespace struct {
	id    string
	links map[string]netlink.Link
}

func (n namespace) weft() bool { return marked(n.links) || weftMade(n.links) }

// lookInto reads the links of a namespace; one that is no namespace, or has just
// gone, has none.
func lookInto(path string) (namespace, error) {
	if !isNamespace(path) {
		return namespace{}, nil
	}
	ns, err := netns.GetFromPath(path)
	if errors.Is(err, os.ErrNotExist) {
		return namespace{}, nil
	}
	if err != nil {
		return namespace{}, fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer ns.Close()
	links, err := linksIn(ns)
	return namespace{links: links}, err
}

// networksIn gives the network ids that the names of files in the directory tell,
// whatever they are.
func networksIn(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var out []string
	for _, f := range files {
		if id, ok := strings.CutPrefix(f.Name(), overlay.NamespacePrefix); ok && overlay.ValidID(id) {
			out = append(out, id)
		}
	}
	return out, nil
}

// weftsIn gives the ids of the networks that have a namespace of weft's there.
func weftsIn(dir string) ([]string, error) {
	ids, err := networksIn(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, id := range ids {
		ns, err := lookInto(filepath.Join(dir, overlay.Namespace(id)))
		if err != nil {
			return nil, err
		}
		if ns.weft() {
			out = append(out, id)
		}
	}
	return out, nil
}

// inNetwork calls f with netlink in the network's namespace, if it is there.
func (d *Dataplane) inNetwork(id string, f func(*handle) error) error {
	ns, err := netns.GetFromPath(d.namespacePath(id))
	if err != nil {
		return nil // it went away
	}
	h, err := openHandle(ns)
	ns.Close()
	if err != nil {
		return err
	}
	defer h.close()
	return f(h)
}

// containerEnds finds the links of the host's namespace that are the other ends
// of these namespaces' ports: each end names the other by its index.
func (d *Dataplane) containerEnds(of []namespace) ([]netlink.Link, error) {
	links, err := d.host.links()
	if err != nil {
		return nil, err
	}
	var out []netlink.Link
	for _, ns := range of {
		for name, port := range ns.links {
			id, ok := strings.CutPrefix(name, overlay.PortPrefix)
			if !ok || !overlay.IsPortLink(name) {
				continue
			}
			end := links[overlay.ContainerPrefix+id]
			if end != nil && end.Type() == "veth" && end.Attrs().ParentIndex == port.Attrs().Index && port.Attrs().ParentIndex == end.Attrs().Index {
				out = append(out, end)
			}
		}
	}
	return out, nil
}
