package registry

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/networks"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
)

// Claims is what this host may claim (admission.go), and what other hosts and it have
// claimed as far as this host knows: the IPAM side asks it, see ipam.Permits and
// ipam.Networks.
type Claims struct {
	*directory
	rebuild *rebuild
	epochs  *epochs
	place   *place
	contact *contact
	peers   *peers.Peers

	yields atomic.Bool // see Yields; durable
}

// Hosts counts the hosts whose Docker has the network, this one included, and
// says how many of them come before this one in the order of their names.
func (c *Claims) Hosts(network string) (n, before int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n = 1
	for host := range c.peers.In(network) {
		if host != c.self.Name {
			n++
			if host < c.self.Name {
				before++
			}
		}
	}
	return n, before
}

// InUse counts the addresses in the subnet that endpoints have, and the hosts that have
// such an endpoint; here, whether this one does.
func (c *Claims) InUse(subnet netip.Prefix) (addrs, hosts int, here bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	inside := func(all []netip.Addr) int {
		n := 0
		for _, a := range all {
			if subnet.Contains(a) {
				n++
			}
		}
		return n
	}
	for e := range c.endpoints.All() {
		addrs += inside(e.Addrs)
	}
	if here = addrs > 0; here {
		hosts = 1
	}
	for n := range c.networks.All() {
		if !networks.HasSubnet(n, subnet) {
			continue
		}
		for _, at := range c.peers.In(n.ID) {
			used := 0
			for _, e := range at.Endpoints {
				used += inside(e.Addrs)
			}
			if addrs += used; used > 0 {
				hosts++
			}
		}
	}
	return addrs, hosts, here
}

// Owner says in words who uses the address, anywhere in the cluster, or "".
func (c *Claims) Owner(a netip.Addr) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e, used := c.endpoints.With(a); used {
		return owner(e.ID, e.Name, c.self.Name)
	}
	for at := range c.peers.Attachments() {
		for _, e := range at.Endpoints {
			if slices.Contains(e.Addrs, a) {
				return owner(e.ID, e.Name, at.Host)
			}
		}
	}
	return ""
}

// Uses says whether an endpoint of this host has the address.
func (c *Claims) Uses(a netip.Addr) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.endpoints.Uses(a)
}

// Held gives the subnets of the networks that this host's Docker has, with the
// addresses of this host's endpoints.
func (c *Claims) Held() map[netip.Prefix][]netip.Addr {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[netip.Prefix][]netip.Addr{}
	of := map[string][]netip.Prefix{}
	for n := range c.networks.Here() {
		of[n.ID] = record.Prefixes(n)
		for _, p := range of[n.ID] {
			out[p] = nil
		}
	}
	for e := range c.endpoints.All() {
		if e.Phase == overlay.Lost {
			continue
		}
		for _, a := range e.Addrs {
			for _, p := range of[e.Network] {
				if p.Contains(a) {
					out[p] = append(out[p], a)
				}
			}
		}
	}
	return out
}

// Rebuilding says whether this host may have endpoints that it has lost its records of,
// see Registry.Rebuilding.
func (c *Claims) Rebuilding() (lost, ready bool) { return c.rebuild.progress() }

// Claimed gives the addresses in the subnet that other hosts have, by host,
// according to what each has said last: in use or in stock. A host that was
// declared dead or has left has none.
func (c *Claims) Claimed(subnet netip.Prefix) map[netip.Addr]string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[netip.Addr]string{}
	for n := range c.networks.All() {
		if !networks.HasSubnet(n, subnet) {
			continue
		}
		for host, at := range c.peers.In(n.ID) {
			add := func(a netip.Addr) {
				if subnet.Contains(a) {
					out[a] = host
				}
			}
			for _, a := range at.Stock {
				add(a)
			}
			for _, e := range at.Endpoints {
				for _, a := range e.Addrs {
					add(a)
				}
			}
		}
	}
	return out
}

// Asked gives the addresses in the network that other hosts ask for: whoever has one in
// stock is to give it back. Who may be dead asks for nothing.
func (c *Claims) Asked(network string) []netip.Addr {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []netip.Addr
	for host, at := range c.peers.In(network) {
		if len(at.Asks) > 0 && c.livesLocked(host) {
			out = append(out, at.Asks[:min(len(at.Asks), overlay.MostAsks)]...)
		}
	}
	return out
}

// Lives says whether another host is alive and can be told something: the store shows its
// lease, and it is not silent.
func (c *Claims) Lives(host string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.livesLocked(host)
}

func (c *Claims) livesLocked(host string) bool {
	peer, known := c.peers.Peer(host)
	return known && peer.Live && !c.peers.Silent(host)
}
