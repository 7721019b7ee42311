package whole

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// KernelDiffers says where the hosts' kernels do not hold what follows from the
// store's records: a network's namespace, its bridge, tunnel and ports, where
// frames are sent, and which neighbours are known.
func (c Cluster) KernelDiffers(ctx context.Context) ([]string, error) {
	records, err := c.Records(ctx)
	if err != nil {
		return nil, err
	}
	networks, attachments := map[string]overlay.Network{}, map[string][]overlay.Attachment{}
	for key, text := range records {
		kind, rest, _ := strings.Cut(key, "/")
		if len(text) == 0 {
			continue // net/.keep
		}
		var err error
		switch kind {
		case "net":
			var n overlay.Network
			if err = json.Unmarshal(text, &n); err == nil && n.Deleted.IsZero() {
				networks[n.ID] = n
			}
		case "at":
			host, network, _ := strings.Cut(rest, "/")
			a := overlay.Attachment{Host: host, Network: network}
			if err = json.Unmarshal(text, &a); err == nil {
				attachments[network] = append(attachments[network], a)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("the store's %s: %w", key, err)
		}
	}
	var out []string
	for _, self := range c.Hosts() {
		s := overlay.Snapshot{
			Self: overlay.Host{Name: self.Name(), VTEP: self.Addr()}, Hosts: map[string]overlay.Host{},
			Networks: networks, Peers: map[string][]overlay.Attachment{}, Held: held(self.Name(), records, networks),
		}
		for _, h := range c.Hosts() {
			if h.Name() != self.Name() {
				s.Hosts[h.Name()] = overlay.Host{Name: h.Name(), VTEP: h.Addr()}
			}
		}
		for network, list := range attachments {
			for _, a := range list {
				if a.Host != self.Name() {
					s.Peers[network] = append(s.Peers[network], a)
					continue
				}
				for _, e := range a.Endpoints {
					s.Local = append(s.Local, overlay.Endpoint{ID: e.ID, Network: network, MAC: e.MAC, Addrs: e.Addrs, Phase: overlay.Joined})
				}
			}
		}
		for _, n := range overlay.Plan(s).Networks {
			for _, d := range kernelDiffers(self.Path("/run/netns/"+overlay.Namespace(n.ID)), n) {
				out = append(out, fmt.Sprintf("network %s in the kernel of %s: %s", networks[n.ID].Title(), self.Name(), d))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// held gives, by the networks' ids, the addresses that the host has claimed since it
// last lost its state.
func held(host string, records map[string][]byte, networks map[string]overlay.Network) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for key, text := range records {
		rest, ok := strings.CutPrefix(key, "addr/")
		if !ok {
			continue
		}
		subnet, addr, _ := strings.Cut(rest, "/")
		a, err := netip.ParseAddr(addr)
		by, lost := claimant(text, records)
		if err != nil || by != host || lost {
			continue
		}
		for id, n := range networks {
			if slices.ContainsFunc(n.Subnets, func(s overlay.Subnet) bool { return slot(s.Prefix) == subnet }) {
				out[id] = append(out[id], a)
			}
		}
	}
	return out
}

// kernelDiffers says how the namespace differs from the network's plan.
func kernelDiffers(path string, n overlay.NetworkConfig) []string {
	have, err := tables(path)
	if err != nil {
		return []string{err.Error()}
	}
	want := map[string]bool{}
	for _, p := range n.Ports {
		want["port "+overlay.PortLink(p.Endpoint)] = true
	}
	for _, r := range n.Remotes {
		want[fmt.Sprintf("%s behind %s", r.MAC, r.VTEP)] = true
		for _, a := range r.Addrs {
			want[fmt.Sprintf("%s is %s", a, r.MAC)] = true
		}
	}
	for _, a := range n.Gone {
		want[fmt.Sprintf("%s is %s", a, overlay.MACOf(n.ID, a))] = true
	}
	for _, a := range n.Flood {
		want[fmt.Sprintf("%s behind %s", overlay.MAC{}, a)] = true
	}
	var out []string
	for _, w := range slices.Sorted(maps.Keys(want)) {
		if !have[w] {
			out = append(out, "lacks "+w)
		}
	}
	for _, h := range slices.Sorted(maps.Keys(have)) {
		if !want[h] {
			out = append(out, "has "+h)
		}
	}
	return out
}

// tables are the bridge's ports, the tunnel's destinations and the neighbours of
// a network's namespace, each as a line.
func tables(path string) (map[string]bool, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open its namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("look into its namespace: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list its links: %w", err)
	}
	out, index := map[string]bool{}, map[string]int{}
	for _, l := range links {
		index[l.Attrs().Name] = l.Attrs().Index
		if overlay.IsPortLink(l.Attrs().Name) {
			out["port "+l.Attrs().Name] = true
		}
	}
	for _, name := range []string{overlay.Bridge, overlay.VXLAN} {
		if index[name] == 0 {
			return nil, fmt.Errorf("there is no %s", name)
		}
	}
	fdb, err := h.NeighList(index[overlay.VXLAN], unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("list its forwarding entries: %w", err)
	}
	for _, e := range fdb {
		if a, ok := netip.AddrFromSlice(e.IP); ok && e.Flags&unix.NTF_SELF != 0 && len(e.HardwareAddr) == 6 {
			out[fmt.Sprintf("%s behind %s", e.HardwareAddr, a.Unmap())] = true
		}
	}
	neighbours, err := h.NeighList(index[overlay.Bridge], unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list its neighbours: %w", err)
	}
	for _, e := range neighbours {
		if a, ok := netip.AddrFromSlice(e.IP); ok && e.State == unix.NUD_PERMANENT && len(e.HardwareAddr) == 6 && e.Family != unix.AF_BRIDGE {
			out[fmt.Sprintf("%s is %s", a.Unmap(), e.HardwareAddr)] = true
		}
	}
	return out, nil
}

// Behind counts the entries in the host's networks that send frames to the
// address of a tunnel's other end.
func (c Cluster) Behind(host string, vtep netip.Addr) (int, error) {
	dir := c.Lab.Host(host).Path("/run/netns")
	spaces, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("list the namespaces of %s: %w", host, err)
	}
	n := 0
	for _, s := range spaces {
		if !strings.HasPrefix(s.Name(), overlay.NamespacePrefix) {
			continue
		}
		have, err := tables(filepath.Join(dir, s.Name()))
		if err != nil {
			return 0, fmt.Errorf("%s on %s: %w", s.Name(), host, err)
		}
		for line := range have {
			if strings.HasSuffix(line, " behind "+vtep.String()) {
				n++
			}
		}
	}
	return n, nil
}
