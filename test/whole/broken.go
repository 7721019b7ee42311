package whole

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/weft-net/weft/driver/control"
)

// Broken says what is not whole, a line for each: a weft that is not healthy,
// networks that differ between hosts or from Docker's, containers whose
// addresses are used twice or are not what Docker says, a store that lacks
// something or has too much, and namespaces of networks without a container.
func (c Cluster) Broken(ctx context.Context) []string {
	var reasons []string
	say := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	docker := map[string]map[string]DockerNetwork{}
	var first []control.Network
	for i, h := range c.Hosts() {
		s, err := c.Control(h.Name()).Status(ctx)
		if err != nil {
			say("%s: %v", h.Name(), err)
			continue
		}
		if !s.Healthy || len(s.Warnings) > 0 || len(s.Passes.Errors) > 0 {
			say("weft status on %s: problems %q, warnings %q, errors %q", h.Name(), s.Problems, s.Warnings, s.Passes.Errors)
		}
		list, err := c.Networks(ctx, h.Name())
		if err != nil {
			say("%v", err)
		}
		if i == 0 {
			first = list
		} else if !reflect.DeepEqual(first, list) {
			say("weft network ls on %s gives %v, and on h1 %v", h.Name(), list, first)
		}
		nets, err := c.DockerNetworks(ctx, h.Name())
		if err != nil {
			say("%v", err)
			continue
		}
		docker[h.Name()] = nets
		reasons = append(reasons, networksDiffer(h.Name(), list, nets)...)
	}
	all, err := c.Containers()
	if err != nil {
		say("%v", err)
	}
	sandboxes := c.Sandboxes()
	reasons = append(reasons, Duplicates(sandboxes)...)
	reasons = append(reasons, abandoned(all, sandboxes)...)
	reasons = append(reasons, dockerDiffers(all, docker)...)
	records, err := c.Records(ctx)
	if err != nil {
		return append(reasons, err.Error())
	}
	reasons = append(reasons, StoreDiffers(records, first, docker)...)
	return append(reasons, c.idleNamespaces(first, docker)...)
}

// networksDiffer says how weft's networks and Docker's differ on a host.
func networksDiffer(host string, list []control.Network, docker map[string]DockerNetwork) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if len(docker) != len(list) {
		say("Docker on %s has %d networks of weft's, and weft %d", host, len(docker), len(list))
	}
	for _, n := range list {
		d, ok := docker[n.Name]
		if !ok || n.State != control.NetworkOK || n.Name == "" {
			say("network %q (%s) on %s is %s: %s (in Docker: %v)", n.Name, n.ID, host, n.State, n.Why, ok)
			continue
		}
		var subnets []netip.Prefix
		for _, c := range d.IPAM.Config {
			p, _ := netip.ParsePrefix(c.Subnet) // an invalid one differs
			subnets = append(subnets, p)
		}
		if !slices.Equal(subnets, n.Subnets) {
			say("network %s on %s has subnets %v in Docker, %v in the cluster", n.Name, host, subnets, n.Subnets)
		}
	}
	return out
}

// dockerDiffers says which containers have other addresses than Docker thinks.
func dockerDiffers(all []Container, docker map[string]map[string]DockerNetwork) []string {
	want := map[string][]netip.Addr{}
	for host, nets := range docker {
		for _, n := range nets {
			for id, c := range n.Containers {
				for _, text := range []string{c.IPv4Address, c.IPv6Address} {
					if p, err := netip.ParsePrefix(text); err == nil {
						want[host+" "+id] = append(want[host+" "+id], p.Addr())
					}
				}
			}
		}
	}
	have := map[string][]netip.Addr{}
	for _, s := range all {
		if len(s.Addrs) > 0 {
			have[s.Host+" "+s.ID] = slices.SortedFunc(slices.Values(s.Addrs), netip.Addr.Compare)
		}
	}
	var out []string
	for key, addrs := range want {
		slices.SortFunc(addrs, netip.Addr.Compare)
		if !slices.Equal(have[key], addrs) {
			out = append(out, fmt.Sprintf("container %.15s has addresses %v, and Docker says %v", key, have[key], addrs))
		}
	}
	for key, addrs := range have {
		if want[key] == nil {
			out = append(out, fmt.Sprintf("container %.15s has addresses %v of which Docker knows nothing", key, addrs))
		}
	}
	slices.Sort(out)
	return out
}
