package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/probe"
)

var tunnelCheck = Check{
	Name: "tunnel", Code: 16, About: "packets come through the tunnels between all hosts, each way",
	After: []string{"kernel", "sysctl", "vxlan-port", "firewall", "underlay", "peers"},
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		return paths(ctx, h, func(p probe.Path) bool { return !p.Reached }, cutOff)
	},
}

var mtuCheck = Check{
	Name: "mtu", Code: 17, About: "packets as large as the networks allow come through the tunnels too",
	After: []string{"underlay", "fixed-mtu"},
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		return paths(ctx, h, func(p probe.Path) bool { return p.Reached && !p.Full }, tooLarge)
	},
}

var checksumCheck = Check{
	Name: "checksum", Code: 18, About: "nothing damages packets in the tunnels, or their checksums",
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		return paths(ctx, h, func(p probe.Path) bool { return p.Harmed }, harmed)
	},
}

// paths gives a finding for each bundle of bad paths. The error says why nothing is
// known of other paths.
func paths(ctx context.Context, h *Host, bad func(probe.Path) bool, tell func(s overlay.Snapshot, b bundle) Finding) ([]Finding, error) {
	s, err := h.state()
	if err != nil {
		return nil, err
	}
	all, err := h.Paths(ctx)
	if err != nil {
		return nil, err
	}
	var found []probe.Path
	var unknown []string
	for _, p := range all {
		switch {
		case p.Unknown != "":
			unknown = append(unknown, p.Unknown)
		case bad(p):
			found = append(found, p)
		}
	}
	var out []Finding
	for _, b := range bundles(found) {
		f := tell(s.Snapshot, b)
		f.Object, f.Severity = "path from "+b.from()+" to "+b.to(), control.Broken
		out = append(out, f)
	}
	slices.Sort(unknown)
	if unknown = slices.Compact(unknown); len(unknown) > 0 {
		return out, NotMade("not between all hosts: " + strings.Join(unknown, "; "))
	}
	return out, nil
}

// bundle is paths from or to the same host.
type bundle []probe.Path

func (b bundle) from() string { return b.names(func(p probe.Path) string { return p.From }) }
func (b bundle) to() string   { return b.names(func(p probe.Path) string { return p.To }) }

// named is how many hosts a finding names.
const named = 5

func (b bundle) names(of func(probe.Path) string) string {
	var out []string
	for _, p := range b {
		out = append(out, of(p))
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > named {
		return fmt.Sprintf("%s and %d other hosts", strings.Join(out[:named], ", "), len(out)-named)
	}
	return strings.Join(out, ", ")
}

// bundles puts paths together into few bundles: a host that hears nobody is one
// finding, not one for each other host.
func bundles(paths []probe.Path) []bundle {
	type end struct {
		host string
		from bool
	}
	var out []bundle
	for len(paths) > 0 {
		ends := map[end]bundle{}
		var best end
		for _, p := range paths {
			for _, e := range []end{{p.To, false}, {p.From, true}} {
				ends[e] = append(ends[e], p)
			}
		}
		for e, b := range ends {
			// The most paths first; the rest makes the order definite.
			if c := cmp.Compare(len(b), len(ends[best])); c > 0 || c == 0 && (e.from == best.from && e.host < best.host || !e.from && best.from) {
				best = e
			}
		}
		out = append(out, ends[best])
		paths = slices.DeleteFunc(slices.Clone(paths), func(p probe.Path) bool { return slices.Contains(ends[best], p) })
	}
	return out
}

func cutOff(s overlay.Snapshot, b bundle) Finding {
	return Finding{
		Problem: fmt.Sprintf("nothing that %s sends through the tunnels comes to %s: UDP packets to port %d are dropped on the way", b.from(), b.to(), s.Self.Port),
		Cure: fmt.Sprintf("let UDP port %d through from %s to %s: look at the firewalls of these hosts (nft list ruleset), at those between them, and at the rules of the cloud",
			s.Self.Port, b.from(), b.to()),
	}
}

func tooLarge(s overlay.Snapshot, b bundle) Finding {
	mtu, largest := 0, b[0].Largest
	for _, p := range b {
		mtu, largest = max(mtu, p.MTU), min(largest, p.Largest)
	}
	over := overlay.Overhead(s.Self.VTEP)
	return Finding{
		Problem: fmt.Sprintf("packets of more than %d bytes do not come from %s to %s, and containers there may send %d: connections hang as soon as much is sent; the path between these hosts takes %d bytes, not %d",
			largest, b.from(), b.to(), mtu, largest+over, mtu+over),
		Cure: fmt.Sprintf("give all links between these hosts an MTU of %d, or start weft on them with --mtu %d; a network that was made with an MTU of its own must be made anew",
			mtu+over, largest+over),
	}
}

func harmed(_ overlay.Snapshot, b bundle) Finding {
	return Finding{
		Problem: fmt.Sprintf("packets are damaged on their way through the tunnels from %s to %s, or have wrong checksums: the network card or its driver fails at checksums of tunnels, or a box between these hosts does", b.from(), b.to()),
		Cure:    fmt.Sprintf("switch the offload of tunnels off on the underlay's interface of %s (ethtool -K INTERFACE tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off, then tx off), and if that helps, update its driver or firmware; else look at what lies between these hosts", b.from()),
	}
}
