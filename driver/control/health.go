package control

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
)

// problems says what is wrong and concerns this host.
func (x *index) problems(now time.Time) []string {
	out := []string{}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if !x.Store.Reachable {
		say("the store %s has not answered since %s: %s; %s", x.Store.URL, stamp(x.Store.Since), cmp.Or(x.Store.Error, "no reason is known"), x.storeless())
	}
	switch d := x.Docker; {
	case !d.Mirroring || d.Connected:
	case d.Since.IsZero():
		say("Docker's API at %s has not been reached yet: networks are not mirrored and new containers have no names", d.URL)
	default:
		say("Docker's API at %s has not answered since %s: %s; networks are not mirrored and new containers have no names", d.URL, stamp(d.Since), cmp.Or(d.Error, "no reason is known"))
	}
	for _, c := range x.Docker.Conflicts {
		say("%s", c.Text)
	}
	switch p := x.Passes; {
	case p.Count == 0:
		say("the kernel has not been looked at since the daemon's start at %s", stamp(x.Started))
	case p.Overdue(now):
		say("the kernel was last looked at %s, though that is due every %s: a call to the kernel may be hanging", stamp(p.Last), p.Every)
	}
	for _, err := range x.Passes.Errors {
		say("the kernel does not match the records: %s", err)
	}
	if !x.Snapshot.Self.VTEP.IsValid() {
		say("host %s has no underlay address, so its containers do not reach other hosts: see --advertise", x.Snapshot.Self.Name)
	}
	for _, f := range slices.Concat(x.crowded(), x.mismatches(), x.duplicates()) {
		say("%s: %s", f.Problem, f.Cure)
	}
	return out
}

// storeless says what goes on while the store does not answer.
func (x *index) storeless() string {
	heard, others := 0, 0
	for _, h := range x.Hosts {
		others++
		if !h.Heard.IsZero() && !h.Silent {
			heard++
		}
	}
	switch {
	case others == 0:
		return "what runs here goes on, but no network can be created"
	case heard == 0:
		return "what runs here goes on, but changes do not travel between hosts, and no network can be created"
	case heard < others:
		return fmt.Sprintf("what runs here goes on, but changes travel only between hosts that hear each other directly, this one %d of %d, and no network can be created", heard, others)
	default:
		return "what runs here goes on, and changes travel directly from host to host, but no network can be created"
	}
}

// crowded says of which networks this host has more containers than their bridges have
// ports. New ones are refused, so these were recorded otherwise.
func (x *index) crowded() []Finding {
	var out []Finding
	for _, id := range slices.Sorted(maps.Keys(x.Snapshot.Networks)) {
		if why := x.portless(x.Snapshot.Networks[id]); why != "" {
			out = append(out, Finding{
				Object: fmt.Sprintf("network %q", x.Snapshot.Networks[id].Title()), Problem: why, Severity: Broken,
				Cure: "take containers out of the network on this host, and start them on other hosts",
			})
		}
	}
	return out
}

// portless is the sentence about the containers of this host for which n's bridge has no
// port, or "".
func (x *index) portless(n overlay.Network) string {
	ported, beyond := overlay.Ported(x.local[n.ID])
	if len(beyond) == 0 {
		return ""
	}
	self := x.Snapshot.Self.Name
	return fmt.Sprintf("host %s has %d containers in network %q, and a bridge of Linux has ports for %d, so %d are not connected, of which the oldest is %s",
		self, len(ported)+len(beyond), n.Title(), len(ported), len(beyond), user(x.endpoint(self, beyond[0])))
}

// mismatches says which hosts cannot exchange packets with this one.
func (x *index) mismatches() []Finding {
	var out []Finding
	self := x.Snapshot.Self
	say := func(cure, problem string, args ...any) {
		out = append(out, Finding{Object: "host " + self.Name, Problem: fmt.Sprintf(problem, args...), Cure: cure, Severity: Broken})
	}
	byVTEP := map[string]string{}
	for _, h := range x.hosts { // sorted
		if h.State == HostDown || h.VTEP == "" {
			continue
		}
		if other, taken := byVTEP[h.VTEP]; taken {
			say("set --advertise on each", "hosts %s and %s have one underlay address, %s", other, h.Name, h.VTEP)
			continue
		}
		byVTEP[h.VTEP] = h.Name
		peer := x.Snapshot.Hosts[h.Name]
		switch {
		case h.Self || !self.VTEP.IsValid() || !peer.VTEP.IsValid():
		case peer.VTEP.Is4() != self.VTEP.Is4():
			say("set --advertise on one of them", "host %s has underlay address %s and host %s %s: containers reach each other only over one address family", h.Name, h.VTEP, self.Name, self.VTEP)
		case h.Port != self.Port:
			say("set --vxlan-port on one of them", "host %s uses UDP port %d and host %s %d: containers reach each other only over one port", h.Name, h.Port, self.Name, self.Port)
		}
	}
	return out
}

// duplicates says which addresses are used twice in a network.
func (x *index) duplicates() []Finding {
	type key struct {
		network string
		addr    netip.Addr
	}
	users := map[key][]Endpoint{}
	for _, e := range x.endpoints {
		if e.Phase == overlay.Left {
			continue // another endpoint may have its address already
		}
		for _, a := range e.Addrs {
			users[key{e.Network, a}] = append(users[key{e.Network, a}], e)
		}
	}
	maps.DeleteFunc(users, func(_ key, e []Endpoint) bool { return len(e) < 2 })
	keys := slices.SortedFunc(maps.Keys(users), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.network, b.network), a.addr.Compare(b.addr))
	})
	var out []Finding
	for _, k := range keys {
		a, b := users[k][0], users[k][1]
		out = append(out, Finding{
			Object: "the cluster", Severity: Broken, Cure: "remove one of them",
			Problem: fmt.Sprintf("address %s of network %q is used twice, by %s and %s", k.addr, cmp.Or(a.NetworkName, k.network), user(a), user(b)),
		})
	}
	return out
}

func user(e Endpoint) string {
	if e.Container != "" {
		return fmt.Sprintf("container %q on host %s", e.Container, e.Host)
	}
	return fmt.Sprintf("endpoint %.12s on host %s", e.ID, e.Host)
}

// warnings says what is wrong elsewhere.
func (x *index) warnings() []string {
	out := []string{}
	switch n := len(x.Skipped); {
	case n == 1:
		out = append(out, fmt.Sprintf("1 record of the store cannot be used and is passed over (%s): see `weft doctor --only records`", skipped.Names(x.Skipped)))
	case n > 1:
		out = append(out, fmt.Sprintf("%d records of the store cannot be used and are passed over (%s): see `weft doctor --only records`", n, skipped.Names(x.Skipped)))
	}
	for _, h := range x.hosts {
		if h.State == HostDown {
			out = append(out, fmt.Sprintf("host %s is down, or cut off from the store, since %s; its addresses stay its own", h.Name, stamp(h.Since)))
		}
	}
	return out
}

// stamp is a time within a sentence.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}
