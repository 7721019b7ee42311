package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
)

var portCheck = Check{
	Name: "vxlan-port", Code: 13, About: "the tunnels' UDP port is free for them",
	After: []string{"kernel"},
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		var vtep netip.Addr
		var networks map[string]overlay.Network
		if h.State != nil {
			s := h.State()
			vtep, networks = s.Snapshot.Self.VTEP, s.Snapshot.Networks
		}
		tunnels, err := h.Kernel.ForeignTunnels(h.Config.Port)
		if err != nil {
			return nil, err
		}
		out := sharedVNIs(h.Config.Port, tunnels, networks)
		err = h.Kernel.TryPort(ctx, vtep, h.Config.Port)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return out, err
		}
		sockets, err := h.Kernel.UDPSockets(h.Config.Port)
		if err != nil {
			return out, err
		}
		return append(out, taken(h.self(), h.Config.Port, sockets, tunnels, owner)), nil
	},
}

// taken says who has the port.
func taken(host string, port uint16, sockets []dataplane.Socket, tunnels []dataplane.ForeignTunnel, owner func(inode uint32) string) Finding {
	var by []string
	for _, s := range sockets {
		if program := owner(s.Inode); program != "" {
			by = append(by, fmt.Sprintf("%s on %s", program, s.Addr))
		}
	}
	for _, t := range tunnels {
		by = append(by, fmt.Sprintf("the VXLAN device %s, whose settings do not let others share it", t.Link))
	}
	if len(by) == 0 {
		by = append(by, "a tunnel that is not weft's, or a program that cannot be seen from here")
	}
	return Finding{
		Object:   fmt.Sprintf("UDP port %d", port),
		Problem:  fmt.Sprintf("UDP port %d of %s is taken by %s, so weft's tunnels cannot use it", port, host, strings.Join(by, " and ")),
		Cure:     "end that, or give weft another port with --vxlan-port, the same on every host",
		Severity: control.Broken,
	}
}

// sharedVNIs finds tunnels of other programs that have the VNI of a network.
func sharedVNIs(port uint16, tunnels []dataplane.ForeignTunnel, networks map[string]overlay.Network) []Finding {
	var out []Finding
	for _, t := range tunnels {
		for _, n := range networks {
			if n.VNI != t.VNI {
				continue
			}
			out = append(out, Finding{
				Object:   "link " + t.Link,
				Problem:  fmt.Sprintf("the VXLAN device %s, which is not weft's, has UDP port %d and the VNI %d of network %q, so the network has no tunnel on this host", t.Link, port, t.VNI, n.Title()),
				Cure:     fmt.Sprintf("remove it (ip link del %s) or give it another VNI or port", t.Link),
				Severity: control.Broken,
			})
		}
	}
	return out
}

// owner names the program that has the socket; "": /proc does not tell.
func owner(inode uint32) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // what cannot be read is not found
	want := fmt.Sprintf("socket:[%d]", inode)
	i := slices.IndexFunc(fds, func(fd string) bool {
		to, err := os.Readlink(fd)
		return err == nil && to == want
	})
	if i < 0 {
		return ""
	}
	pid := strings.Split(fds[i], "/")[2]
	name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
}
