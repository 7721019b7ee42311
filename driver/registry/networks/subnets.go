package networks

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// HasSubnet says whether the network has exactly this subnet.
func HasSubnet(n overlay.Network, p netip.Prefix) bool {
	return slices.ContainsFunc(n.Subnets, func(s overlay.Subnet) bool { return s.Prefix == p })
}

// SameSubnets says whether Docker's idea of a network is the cluster's.
func SameSubnets(n, want overlay.Network) error {
	for _, s := range want.Subnets {
		if !HasSubnet(n, s.Prefix) {
			return fmt.Errorf("subnet %s is a %w: network %q has %s; create it with --ipam-opt weft.id=%s", s.Prefix, ErrMismatch, n.Title(), record.Subnets(n), n.ID)
		}
	}
	return nil
}

// SamePrefixes says whether both networks have the same subnets.
func SamePrefixes(a, b overlay.Network) bool {
	return len(a.Subnets) == len(b.Subnets) && SameSubnets(a, b) == nil
}
