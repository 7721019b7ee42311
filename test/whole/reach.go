package whole

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/test/pulse"
)

// many containers are too many for each to reach each: the kernel keeps at most
// 1024 neighbours by default (gc_thresh3 in arp(7)), for all namespaces together.
const many = 16

// Unreached says which containers do not reach which others of their networks
// with their first packet, or do not find them by name. Each answer has a
// second. Of more than 16 containers each tries two, on other hosts if there are
// as many on each.
func (c Cluster) Unreached(ctx context.Context) ([]string, error) {
	all, err := c.Containers()
	if err != nil {
		return nil, err
	}
	hosts := c.Hosts()
	networks, err := c.Networks(ctx, hosts[0].Name())
	if err != nil {
		return nil, err
	}
	names := map[string]string{} // by container's id
	for _, h := range hosts {
		nets, err := c.DockerNetworks(ctx, h.Name())
		if err != nil {
			return nil, err
		}
		for _, n := range nets {
			for id, box := range n.Containers {
				names[id] = box.Name
			}
		}
	}
	found := make([][]string, len(all))
	var g errgroup.Group
	g.SetLimit(8)
	slices.SortFunc(all, func(a, b Container) int { return strings.Compare(a.Host+a.ID, b.Host+b.ID) })
	for i, from := range all {
		others := all
		if n := len(all); n > many {
			others = []Container{all[(i+n/3)%n], all[(i+n/2+1)%n]}
		}
		g.Go(func() (err error) {
			found[i], err = unreached(ctx, networks, from, others, names)
			return err
		})
	}
	err = g.Wait()
	return slices.Concat(found...), err
}

// unreached is Unreached from one container.
func unreached(ctx context.Context, networks []control.Network, from Container, others []Container, names map[string]string) ([]string, error) {
	const limit = time.Second
	netns := fmt.Sprintf("/proc/%d/ns/net", from.PID)
	var to []netip.Addr
	want := map[string][]netip.Addr{} // by name
	for _, other := range others {
		shared := slices.DeleteFunc(slices.Clone(other.Addrs), func(a netip.Addr) bool { return !a.Is4() || !Together(networks, from, a) })
		if other.ID != from.ID && len(shared) > 0 {
			to = append(to, shared...)
			want[names[other.ID]] = shared
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	var out []string
	found, why := pulse.LookupAll(ctx, netns, slices.Sorted(maps.Keys(want)), limit)
	for name, shared := range want {
		if !slices.ContainsFunc(found[name], func(a netip.Addr) bool { return slices.Contains(shared, a) }) {
			out = append(out, fmt.Sprintf("%s on %s does not find %s: %v %v", names[from.ID], from.Host, name, found[name], why))
		}
	}
	silent, err := pulse.Ping(netns, to, limit)
	for _, a := range silent {
		out = append(out, fmt.Sprintf("%s on %s does not reach %s", names[from.ID], from.Host, a))
	}
	return out, err
}

// Together says whether the container is in the network that has the address.
func Together(networks []control.Network, from Container, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n control.Network) bool {
		return slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool {
			return p.Contains(a) && slices.ContainsFunc(from.Addrs, p.Contains)
		})
	})
}
