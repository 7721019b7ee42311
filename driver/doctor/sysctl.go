package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weft-net/weft/driver/control"
)

// Only settings that matter to weft are looked at. Forwarding does not matter: weft's
// packets end at the host's tunnels, and Docker sees to what leaves through its
// gateway. Nor do the thresholds of the neighbour tables
// (net.ipv4.neigh.default.gc_thresh*), which do not count permanent entries since
// Linux 5.0, nor bridge-nf-call-iptables, which weft sets for itself.
var sysctlCheck = Check{
	Name: "sysctl", Code: 12, About: "no setting of the kernel stands in the way",
	Run: func(_ context.Context, h *Host) ([]Finding, error) {
		out, err := portRange(h)
		if err != nil {
			return nil, err
		}
		more, err := namespaceLimit(h)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
		if h.State == nil {
			return out, nil
		}
		more, err = sourceCheck(h)
		return append(out, more...), err
	},
}

// portRange finds those of weft's ports that the kernel may give to a program that
// asks for any port.
func portRange(h *Host) ([]Finding, error) {
	text, err := h.Sysctl("net.ipv4.ip_local_port_range")
	if err != nil {
		return nil, err
	}
	reserved, err := h.Sysctl("net.ipv4.ip_local_reserved_ports")
	if err != nil {
		return nil, err
	}
	var from, to uint16
	if _, err := fmt.Sscan(text, &from, &to); err != nil {
		return nil, fmt.Errorf("read net.ipv4.ip_local_port_range %q: %w", text, err)
	}
	var out []Finding
	for _, port := range []uint16{h.Config.Port, h.Config.PushPort} {
		if port == 0 || port < from || port > to || inList(port, reserved) {
			continue
		}
		out = append(out, Finding{
			Object:   "net.ipv4.ip_local_port_range",
			Problem:  fmt.Sprintf("the kernel of %s gives out the ports %d to %d to any program that asks, so weft's port %d may be taken when weft needs it", h.self(), from, to, port),
			Cure:     fmt.Sprintf("add %d to net.ipv4.ip_local_reserved_ports, or begin net.ipv4.ip_local_port_range above it", port),
			Severity: control.Risk,
		})
	}
	return out, nil
}

// inList says whether the port is in a list as the kernel writes it: 1,5-9.
func inList(port uint16, list string) bool {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, several := strings.Cut(part, "-")
		if !several {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 == nil && err2 == nil && uint64(port) >= from && uint64(port) <= to {
			return true
		}
	}
	return false
}

// leastNamespaces leaves room for some containers, and for networks that get their
// first container here. Each takes one namespace.
const leastNamespaces = 64

// namespaceLimit finds a limit on network namespaces that will be reached. No file
// tells how many there are now, so the limit itself is looked at.
func namespaceLimit(h *Host) ([]Finding, error) {
	text, err := h.Sysctl("user.max_net_namespaces")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	most, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("read user.max_net_namespaces %q: %w", text, err)
	}
	if most >= leastNamespaces {
		return nil, nil
	}
	return []Finding{{
		Object:   "user.max_net_namespaces",
		Problem:  fmt.Sprintf("the kernel of %s allows only %d network namespaces, and each container and each network with containers here needs one", h.self(), most),
		Cure:     "raise user.max_net_namespaces, to 10000 for instance",
		Severity: control.Broken,
	}}, nil
}

// sourceCheck finds that the kernel drops what other hosts send, because it
// would answer over another link (net.ipv4.conf.*.rp_filter = 1).
func sourceCheck(h *Host) ([]Finding, error) {
	s := h.State()
	vtep := s.Snapshot.Self.VTEP
	if !vtep.Is4() {
		return nil, nil // IPv6 has no such setting
	}
	in, found, err := h.Kernel.InterfaceOf(vtep)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, noLink
	case in.Virtual:
		return nil, nil // packets come by another link, perhaps the one by which the answers leave
	}
	strict := false
	for _, name := range []string{"all", in.Name} {
		text, err := h.Sysctl("net.ipv4.conf." + strings.ReplaceAll(name, ".", "/") + ".rp_filter")
		if err != nil {
			return nil, err
		}
		switch strings.TrimSpace(text) { // the greater of the two counts
		case "1":
			strict = true
		case "2":
			return nil, nil
		}
	}
	if !strict {
		return nil, nil
	}
	var out []Finding
	for _, peer := range s.Hosts {
		if !peer.VTEP.Is4() || !peer.Live {
			continue
		}
		back, err := h.Kernel.InterfaceTo(peer.VTEP)
		if err != nil || back == in.Name {
			continue // another check tells that there is no route
		}
		out = append(out, Finding{
			Object:   "net.ipv4.conf." + in.Name + ".rp_filter",
			Problem:  fmt.Sprintf("the kernel of %s drops what host %s (%s) sends to %s on %s, for it would answer over %s (rp_filter is 1)", h.self(), peer.Name, peer.VTEP, vtep, in.Name, back),
			Cure:     fmt.Sprintf("route %s over %s, or set net.ipv4.conf.%s.rp_filter to 2", peer.VTEP, in.Name, in.Name),
			Severity: control.Broken,
		})
	}
	return out, nil
}

// ReadSysctl reads one of the kernel's settings. In a link's name that has dots,
// slashes stand for them.
func ReadSysctl(name string) (string, error) {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(p, "/", ".")
	}
	b, err := os.ReadFile(filepath.Join(append([]string{"/proc/sys"}, parts...)...))
	return string(b), err
}
