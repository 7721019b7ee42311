package option

import (
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
)

// rule judges one option by its value and its network.
type rule func(value string, n overlay.Network) (Verdict, string)

const windowsPrefix = "com.docker.network.windowsshim."

// NoEncryption is why encryption is refused, and what to do.
const NoEncryption = "weft cannot encrypt yet; leave it out and keep the network on an underlay that you trust, or run the underlay through WireGuard or IPsec"

// rules are the options of Docker's bridge, overlay, macvlan, ipvlan and Windows
// drivers, and those that Docker itself reads. The names and values are in moby:
// daemon/libnetwork/netlabel/labels.go and the labels.go of each driver.
var rules = map[string]rule{
	// weft's, also under the names of Docker's overlay.
	MTU:             kept,
	VNIList:         kept,
	InterfacePrefix: prefix,
	"encrypted":     encryption,
	Encrypted:       encryption,

	// What Docker itself reads.
	"com.docker.network.enable_ipv4":          ipv4,
	"com.docker.network.enable_ipv6":          ipv6,
	"com.docker.network.internal":             internal,
	"com.docker.network.advertise_addr_nmsgs": kept, // by Docker, since 28.1
	"com.docker.network.advertise_addr_ms":    kept, // likewise

	// The bridge driver's. The way outside and published ports of a network of
	// weft's are those of the bridge docker_gwbridge, which Docker makes by itself.
	"com.docker.network.bridge.enable_icc":              icc,
	"com.docker.network.bridge.enable_ip_masquerade":    masquerade,
	"com.docker.network.bridge.host_binding_ipv4":       binding,
	"com.docker.network.bridge.gateway_mode_ipv4":       gatewayMode,
	"com.docker.network.bridge.gateway_mode_ipv6":       gatewayMode,
	"com.docker.network.bridge.trusted_host_interfaces": unlessEmpty("no interface of the host leads to the addresses of a network of weft's; leave it out and publish the ports (-p)"),
	"com.docker.network.bridge.inhibit_ipv4":            ignored("a host has no address of its own in a network of weft's"),
	"com.docker.network.bridge.name":                    ignored("weft's bridge is in a network namespace of its own, under a name that weft chooses"),
	"com.docker.network.bridge.default_bridge":          ignored("a network of weft's is never Docker's default bridge"),
	"com.docker.network.host_ipv4":                      unlessEmpty(sourceAddress),
	"com.docker.network.host_ipv6":                      unlessEmpty(sourceAddress),

	// The overlay driver's, of older versions too.
	"com.docker.network.driver.overlay.bind_interface": unlessEmpty("all networks of a host have one underlay; leave it out, and start weft with --advertise"),
	"com.docker.network.driver.overlay.neighbor_ip":    ignored("hosts find each other in the store"),

	// Those of macvlan and ipvlan.
	"parent":       broken("weft puts no container on a link of the host; leave it out, or use Docker's macvlan or ipvlan driver"),
	"macvlan_mode": broken(otherDriver),
	"ipvlan_mode":  broken(otherDriver),
	"ipvlan_flag":  broken(otherDriver),

	// Options of the Windows driver that only name the network; for the others see Judge.
	windowsPrefix + "networkname": ignored("it is for Windows"),
	windowsPrefix + "hnsid":       ignored("it is for Windows"),
	windowsPrefix + "hnsowned":    ignored("it is for Windows"),
}

const (
	otherDriver   = "weft's networks are tunnels between hosts and have no such mode; leave it out, or use Docker's macvlan or ipvlan driver"
	sourceAddress = "containers go outside by docker_gwbridge, under the address that the host's routes choose; leave it out"
)

func kept(string, overlay.Network) (Verdict, string) { return Kept, "" }

func ignored(why string) rule {
	return func(string, overlay.Network) (Verdict, string) { return Ignored, why }
}

func broken(why string) rule {
	return func(string, overlay.Network) (Verdict, string) { return Broken, why }
}

func unlessEmpty(why string) rule {
	return func(value string, _ overlay.Network) (Verdict, string) {
		if value == "" {
			return Kept, ""
		}
		return Broken, why
	}
}

func encryption(value string, _ overlay.Network) (Verdict, string) {
	if AsksEncryption(value) {
		return Broken, NoEncryption
	}
	return Kept, ""
}

func prefix(value string, _ overlay.Network) (Verdict, string) {
	if validPrefix(value) {
		return Kept, ""
	}
	return Broken, "it takes 1 to 12 letters, digits, '_', '.' or '-'"
}

func binding(value string, _ overlay.Network) (Verdict, string) {
	if a, err := netip.ParseAddr(value); value == "" || err == nil && a.IsUnspecified() {
		return Kept, ""
	}
	return Broken, "ports are published by docker_gwbridge on all of the host's addresses; leave it out, and name the address with each port (-p " + value + ":8080:80)"
}

func icc(value string, _ overlay.Network) (Verdict, string) {
	if is(value, true) {
		return Kept, ""
	}
	return Broken, "containers of one network reach each other on weft; leave it out, and give containers that must not meet networks of their own"
}

func masquerade(value string, n overlay.Network) (Verdict, string) {
	if is(value, true) || is(value, false) && n.Internal {
		return Kept, ""
	}
	return Broken, "containers go outside by docker_gwbridge, which masquerades; leave it out, or create the network with --internal"
}

func gatewayMode(value string, n overlay.Network) (Verdict, string) {
	if value == "" || value == "nat" || value == "isolated" && n.Internal {
		return Kept, ""
	}
	return Broken, "containers go outside by docker_gwbridge, whose mode is nat; leave it out, or create the network with --internal"
}

// ipv4 and ipv6 are Docker's business since version 28. Older ones do not read them.
func ipv4(value string, n overlay.Network) (Verdict, string) {
	if is(value, has(n, netip.Addr.Is4)) {
		return Kept, ""
	}
	return Broken, "this Docker does not go by it; leave it out, and use Docker 28 or newer with --ipv4=false for a network without IPv4"
}

func ipv6(value string, n overlay.Network) (Verdict, string) {
	if is(value, has(n, netip.Addr.Is6)) {
		return Kept, ""
	}
	return Broken, "this Docker does not go by it; leave it out, and use --ipv6 for a network with IPv6"
}

func has(n overlay.Network, family func(netip.Addr) bool) bool {
	for _, s := range n.Subnets {
		if family(s.Prefix.Addr()) {
			return true
		}
	}
	return false
}

func internal(value string, n overlay.Network) (Verdict, string) {
	if is(value, n.Internal) {
		return Kept, ""
	}
	return Broken, "Docker does not go by it; leave it out, and use --internal for a network that no way leads out of"
}
