// Package space is the arithmetic of subnets and addresses: what a pool is, which of
// its addresses hosts may have, which free ones are drawn, and where a pool that
// nobody has named comes from. It is pure and imports nothing of weft.
package space

import (
	"fmt"
	"net/netip"
	"strings"
)

// PoolID is what Docker holds for a pool: the subnet, and the part of it from
// which addresses are handed out when none is asked for.
type PoolID struct {
	Subnet netip.Prefix // masked
	Range  netip.Prefix // masked and inside Subnet; invalid means all of it
}

// ParsePoolID parses PoolID's String.
func ParsePoolID(s string) (PoolID, error) {
	subnet, ipRange, ranged := strings.Cut(s, ",")
	var id PoolID
	var err error
	if id.Subnet, err = ParsePrefix(subnet); err != nil {
		return PoolID{}, fmt.Errorf("pool id %q: %w", s, err)
	}
	if ranged {
		if id.Range, err = ParsePrefix(ipRange); err != nil {
			return PoolID{}, fmt.Errorf("pool id %q: %w", s, err)
		}
	}
	if err := id.Check(); err != nil {
		return PoolID{}, fmt.Errorf("pool id %q: %w", s, err)
	}
	return id, nil
}

// String is "10.50.0.0/16", or "10.50.0.0/16,10.50.8.0/24" with a range.
func (id PoolID) String() string {
	if !id.Range.IsValid() {
		return id.Subnet.String()
	}
	return id.Subnet.String() + "," + id.Range.String()
}

// Check refuses a range that is not part of the subnet.
func (id PoolID) Check() error {
	if id.Range.IsValid() && !Within(id.Subnet, id.Range) {
		return fmt.Errorf("range %v is not inside subnet %v", id.Range, id.Subnet)
	}
	return nil
}

// ParsePrefix parses a subnet and refuses what netip takes but no network can have.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no subnet: write it like 10.1.0.0/24", s)
	}
	return p, CheckPrefix(p)
}

// CheckPrefix refuses a subnet that no network can have, in a sentence.
func CheckPrefix(p netip.Prefix) error {
	a := p.Addr()
	switch {
	case a.Is4In6():
		return fmt.Errorf("subnet %v is an IPv4 subnet in IPv6 form: write it as IPv4", p)
	case p != p.Masked():
		return fmt.Errorf("subnet %v has bits set behind its length: use %v", p, p.Masked())
	case p.Bits() < 8:
		return fmt.Errorf("subnet %v is too large: use a length of at least 8", p)
	case a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() && a.Is6():
		return fmt.Errorf("subnet %v is not for ordinary hosts: use a private one", p)
	}
	return nil
}

// Within says whether inner is part of outer.
func Within(outer, inner netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}
