package ipam

import (
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
)

// Networks is what the allocator asks about networks and who has which address in them.
// registry.Claims fulfils it. Every method answers from memory and may be called at any
// time; the allocator holds none of its own locks meanwhile.
type Networks interface {
	// Network gives a live network by weft's id or by name.
	Network(idOrName string) (overlay.Network, bool)

	// NetworkOf gives the live network that has exactly this subnet.
	NetworkOf(p netip.Prefix) (overlay.Network, bool)

	// Mirrored gives the live network that has exactly this subnet and that
	// Docker here is just being asked to make, since the cluster has it.
	Mirrored(p netip.Prefix) (overlay.Network, bool)

	// Attached says whether this host's Docker has the network with this id.
	Attached(network string) bool

	// Owner describes who uses an address, as in `container "web" on host h2`,
	// or is empty.
	Owner(a netip.Addr) string

	// Uses says whether an endpoint of this host has the address.
	Uses(a netip.Addr) bool

	// Claimed gives the addresses in the subnet that other hosts have, in use or
	// in stock, by host, according to what each has said last.
	Claimed(subnet netip.Prefix) map[netip.Addr]string

	// Lives says whether another host is alive and can be told something, as far as
	// known.
	Lives(host string) bool

	// Asked gives the addresses in the network that other hosts ask this one to give up
	// if it has them in stock. They may be any addresses.
	Asked(network string) []netip.Addr

	// Hosts is the number of hosts that take part in the network, this one
	// included, and how many of them come before this one in an order that is
	// the same for all.
	Hosts(network string) (n, before int)

	// InUse counts the addresses in the subnet that endpoints have, and the hosts that
	// have such an endpoint; here, whether this one does.
	InUse(subnet netip.Prefix) (addrs, hosts int, here bool)

	// Held gives the subnets of the networks that this host's Docker has, each
	// with the addresses in it of this host's endpoints.
	Held() map[netip.Prefix][]netip.Addr

	// Rebuilding says, as lost, whether this host may have endpoints that it
	// has lost its records of. Until it has not, no address is free because
	// nobody here seems to have it.
	Rebuilding() (lost, ready bool)
}
