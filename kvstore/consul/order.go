package consul

import (
	"crypto/sha256"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// order gives the addresses in the order in which the host tries them: each host
// has one of its own, and keeps it. So all hosts together use all servers, and the
// hosts of one that fails go to different ones. An agent on the host itself is there
// for this host alone, and goes first. Without a host's name all stays as it is.
func order(addresses []string, host string) []string {
	if host == "" {
		return addresses
	}
	return slices.SortedStableFunc(slices.Values(addresses), func(a, b string) int {
		return strings.Compare(rank(a, host), rank(b, host))
	})
}

// rank is what order sorts by: the smallest goes first.
func rank(address, host string) string {
	class := "remote"
	if name, _, err := net.SplitHostPort(address); err == nil {
		if ip, err := netip.ParseAddr(name); name == "localhost" || err == nil && ip.IsLoopback() {
			class = "local"
		}
	}
	sum := sha256.Sum256([]byte(host + " " + address))
	return class + string(sum[:])
}
