package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
)

var fastPathCheck = Check{
	Name: "fast-path", Code: 36, About: "the fast path is open where it can be, and who else sees its packets",
	After: []string{"daemon", "kernel", "underlay", "passes"},
	Run: func(_ context.Context, h *Host) ([]Finding, error) {
		s, err := h.state()
		if err != nil {
			return nil, err
		}
		out := append(fastFindings(h.self(), s), directFindings(h.self(), s)...)
		self := s.Snapshot.Self
		if !self.VTEP.IsValid() {
			return out, nil // another check tells
		}
		on, found, err := h.Kernel.InterfaceOf(self.VTEP)
		if err != nil || !found {
			return out, err
		}
		links := []string{on.Name}
		var aside []string // hosts that are reached by another link
		for _, peer := range s.Hosts {
			if !peer.Live || !peer.VTEP.IsValid() || peer.VTEP.Is4() != self.VTEP.Is4() {
				continue
			}
			by, err := h.Kernel.InterfaceTo(peer.VTEP)
			switch {
			case err != nil || by == on.Name: // without a route, another check tells
			case on.Virtual && len(links) == 1:
				links = append(links, by)
			case !on.Virtual:
				aside = append(aside, fmt.Sprintf("%s by %s", peer.Name, by))
			}
		}
		if s.Fast.Open {
			out = append(out, asideFindings(h.self(), on.Name, aside)...)
		}
		var errs []error
		for _, link := range links {
			hooked, err := h.Kernel.HookedAt(link)
			out = append(out, hookedFindings(h.self(), hooked)...)
			errs = append(errs, err)
		}
		return out, errors.Join(errs...)
	},
}

// fastFindings says why packets do not take the fast path.
func fastFindings(host string, s control.State) []Finding {
	f := s.Fast
	out := Finding{Object: host, Severity: control.Note}
	switch dataplane.Cause(f.Cause) {
	case "":
		return faultyNetworks(host, s)
	case dataplane.CauseIdle:
		return nil
	case dataplane.CauseOff:
		out.Problem = fmt.Sprintf("the fast path of %s is off, because --fast-path says so, so packets between containers go through bridge, tunnel and netfilter", host)
		out.Cure = "nothing has to be done; to have it, start weft with --fast-path=auto"
	case dataplane.CauseKernel:
		out.Problem = fmt.Sprintf("%s can have no fast path, so packets between containers go through bridge, tunnel and netfilter: %s", host, f.Why)
		out.Cure = "nothing has to be done; to have it, use Linux 5.13 or later with CONFIG_BPF_SYSCALL, CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, and leave weft CAP_BPF and CAP_NET_ADMIN and the system call bpf"
	case dataplane.CauseHost:
		out.Problem = fmt.Sprintf("the fast path of %s is closed, so packets between containers go through bridge, tunnel and netfilter: %s", host, f.Why)
		out.Cure = "nothing has to be done; it opens by itself when the reason is gone"
	case dataplane.CauseOthers:
		out.Severity = control.Risk
		out.Problem = fmt.Sprintf("the fast path of %s is closed, so packets between containers go through bridge, tunnel and netfilter: %s", host, f.Why)
		out.Cure = "take the filters away if nobody needs them (tc filter show dev LINK ingress), or say that there is to be none (--fast-path=off)"
	case dataplane.CauseFault:
		out.Severity = control.Risk
		out.Problem = fmt.Sprintf("the fast path of %s is closed, though it could be open, so packets between containers go through bridge, tunnel and netfilter: %s", host, f.Why)
		out.Cure = "remove what the sentence names if it is not weft's; weft tries again every few seconds, and --fast-path=off does without"
	default: // a daemon of another version
		return nil
	}
	return []Finding{out}
}

// faultyNetworks says which networks ought to take the fast path and do not.
func faultyNetworks(host string, s control.State) []Finding {
	var out []Finding
	for _, id := range s.Fast.Faults {
		title := id
		if n, known := s.Snapshot.Networks[id]; known {
			title = n.Title()
		}
		out = append(out, Finding{
			Object:   fmt.Sprintf("network %q", title),
			Problem:  fmt.Sprintf("packets of network %q on %s do not take the fast path, though they could, and go through bridge, tunnel and netfilter: %s", title, host, s.Fast.Slow[id]),
			Cure:     "remove what the sentence names if it is not weft's; weft tries again every few seconds",
			Severity: control.Risk,
		})
	}
	return out
}

// asideFindings says to which hosts packets leave by another link than the underlay's.
func asideFindings(host, link string, aside []string) []Finding {
	if len(aside) == 0 {
		return nil
	}
	return []Finding{{
		Object:   "link " + link,
		Problem:  fmt.Sprintf("%s reaches some hosts not by %s, which has its underlay address (%s), so packets to them go through bridge, tunnel and netfilter", host, link, strings.Join(aside, ", ")),
		Cure:     fmt.Sprintf("nothing has to be done; for the fast path route them over %s, or name the address of the other link with --advertise", link),
		Severity: control.Note,
	}}
}

// hookedFindings names what of somebody else's sees the packets besides.
func hookedFindings(host string, hooked []dataplane.Hooked) []Finding {
	out := make([]Finding, 0, len(hooked))
	for _, o := range hooked {
		sees := "gets what comes in by"
		if strings.HasSuffix(o.Hook, "egress") {
			sees = "gets what leaves by"
		}
		look := "bpftool net show dev " + o.Link
		if side, tc := strings.CutPrefix(o.Hook, "tc "); tc {
			look = fmt.Sprintf("tc filter show dev %s %s", o.Link, side)
		}
		out = append(out, Finding{
			Object:   "link " + o.Link,
			Problem:  fmt.Sprintf("%s of somebody else's, at %s, %s %s of %s: what it drops or changes is lost or changed with weft and without", o.What, o.Hook, sees, o.Link, host),
			Cure:     fmt.Sprintf("nothing has to be done unless packets are missing; then see whose it is (%s), and try without it", look),
			Severity: control.Note,
		})
	}
	return out
}
