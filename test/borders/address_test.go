package borders

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/test/borders/craft"
)

// of gives those addresses of links that are of the family.
func of(family int, links ...[]netip.Addr) (out []netip.Addr) {
	for _, a := range slices.Concat(links...) {
		if a.Is4() == (family == 4) {
			out = append(out, a.WithZone(""))
		}
	}
	return out
}

// global gives the addresses that need no link beside them.
func global(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), netip.Addr.IsLinkLocalUnicast)
}

func to(mac craft.MAC, addrs ...netip.Addr) (out []craft.Target) {
	for _, a := range addrs {
		out = append(out, craft.Target{MAC: mac, Addr: a})
	}
	return out
}

func parse(addrs ...string) (out []netip.Addr) {
	for _, a := range addrs {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func loopback(family int) netip.Addr {
	if family == 6 {
		return netip.IPv6Loopback()
	}
	return netip.MustParseAddr("127.0.0.1")
}

// everybody are addresses of all who are near.
func everybody(family int) []netip.Addr {
	if family == 6 {
		return parse("ff02::1", "ff02::2")
	}
	return parse("255.255.255.255", "224.0.0.1", "198.51.100.255")
}

// odd are sources that are nobody's, or should be nobody's.
func odd(family int) []netip.Addr {
	if family == 6 {
		return parse("::", "::1", "ff02::1", "fe80::1", "::ffff:198.51.100.11", "2001:db8:51::77")
	}
	return parse("0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1", "240.0.0.1", "198.51.100.77", "198.51.100.255", "169.254.0.1")
}
