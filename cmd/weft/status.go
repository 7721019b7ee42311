package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "How the daemon of this host is doing",
		Long: `Tell how the daemon of this host is doing.

Problems are what is wrong and concerns this host: they want somebody to do
something, and with them the exit code is 3. Warnings are what is worth knowing,
such as another host that is down. With no answer at all the exit code is 1.`,
		Example: `  weft status
  weft status --json | jq .problems`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client(cmd)
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := write(cmd, s, func() string { return statusText(s, time.Now()) }); err != nil {
				return err
			}
			if !s.Healthy {
				return &exitError{code: exitUnhealthy}
			}
			return nil
		},
	}
	jsonFlag(cmd)
	return cmd
}

func statusText(s control.Status, now time.Time) string {
	c := s.Counts
	out := table(nil, [][]string{
		{"Version", fmt.Sprintf("%s (%s), started %s", s.Version, s.Commit, moment(s.Started, now))},
		{"Host", s.Host},
		{"VTEP", fmt.Sprintf("%s, UDP port %d, underlay MTU %d", cmp.Or(s.VTEP, "none"), s.Port, s.MTU)},
		{"Cluster", cmp.Or(s.Cluster, "not known yet")},
		{"Store", storeText(s.Store, now)},
		{"Docker", dockerText(s.Docker, now)},
		{"Passes", passesText(s.Passes, now)},
		{"Fast path", fastText(s.Fast)},
		{"Directly", directText(s.Direct, s.Fast)},
		{"Networks", fmt.Sprint(c.Networks)},
		{"Endpoints", fmt.Sprintf("%d, %d of them on this host", c.Endpoints, c.EndpointsHere)},
		{"Hosts", hostsText(c)},
		{"Key", keysText(s.Keys)},
		{"Stock", plural(c.Stock, "address", "addresses") + " claimed ahead of use"},
	})
	return out + paragraph("Problems", s.Problems) + paragraph("Warnings", s.Warnings)
}

func storeText(s control.Store, now time.Time) string {
	if s.Reachable {
		return s.URL + since(", answers", s.Since, now)
	}
	return s.URL + since(", has not answered", s.Since, now) + because(s.Error)
}

func dockerText(d control.Docker, now time.Time) string {
	switch {
	case !d.Mirroring:
		return `not used: networks are not mirrored and containers have no names (--docker="")`
	case d.Connected:
		return d.URL + since(", connected", d.Since, now)
	}
	return d.URL + since(", not connected", d.Since, now) + because(d.Error)
}

func passesText(p control.Passes, now time.Time) string {
	if p.Count == 0 {
		return "none yet"
	}
	return fmt.Sprintf("%d, the last at %s in %s; %s, %s in the last pass", p.Count, moment(p.Last, now), p.Took.Round(time.Microsecond),
		plural(p.Repairs, "repair", "repairs"), plural(len(p.Errors), "error", "errors"))
}

func fastText(f control.FastPath) string {
	if !f.Open {
		return "none: " + f.Why
	}
	out := []string{
		plural(f.Networks, "network", "networks"),
		fmt.Sprintf("%s sent, %d received, %d on this host", plural(int(f.Sent), "packet", "packets"), f.Received, f.Local), //nolint:gosec // a count
	}
	for _, id := range slices.Sorted(maps.Keys(f.Slow)) {
		out = append(out, fmt.Sprintf("not %s: %s", id, f.Slow[id]))
	}
	return strings.Join(out, "; ")
}

// directText says how packets go to each host.
func directText(d control.Direct, f control.FastPath) string {
	if !d.Takes {
		return "nothing, all packets to other hosts go through tunnels" + because(d.Why)
	}
	out := []string{fmt.Sprintf("%s sent, %d received without a tunnel", plural(f.SentDirect, "packet", "packets"), f.ReceivedDirect)}
	for _, h := range d.Hosts {
		text := h.Host + ": "
		switch all := len(h.Direct) + len(h.Probing) + len(h.Tunnel); {
		case len(h.Direct) == all:
			text += "direct"
		case len(h.Direct) > 0:
			text += fmt.Sprintf("direct for %d of %s", len(h.Direct), plural(all, "network", "networks"))
		case len(h.Probing) > 0:
			text += "tunnel, being probed"
		default:
			text += "tunnel"
		}
		if h.Why != "" {
			text += " (" + h.Why + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func hostsText(c control.Counts) string {
	out := fmt.Sprintf("%d: %d live, %d down", c.Hosts, c.HostsLive, c.HostsDown)
	if c.HostsUnknown > 0 {
		out += fmt.Sprintf(", %d unknown", c.HostsUnknown)
	}
	return out
}

func since(what string, t, now time.Time) string {
	if t.IsZero() {
		return what
	}
	return what + " since " + moment(t, now)
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func plural[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// paragraph lists sentences under a title, or is nothing.
func paragraph(title string, sentences []string) string {
	if len(sentences) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n" + title + ":\n")
	for _, s := range sentences {
		b.WriteString("  - " + printable(s) + "\n")
	}
	return b.String()
}
