package record

import (
	"fmt"
	"net/netip"
	"strings"
)

// Keys of the store that all hosts share.
const (
	PoolPrefix = "pool/"
	PoolSeq    = "pool/.seq" // compared and set with every new pool, so that overlap checks are serialised
	AddrPrefix = "addr/"
)

// Keys of a host's own state.
const (
	HeldPrefix  = "ipam/pool/"
	ClaimPrefix = "ipam/claim/"
)

// Slot is a prefix as one element of a key.
func Slot(p netip.Prefix) string { return strings.Replace(p.String(), "/", "_", 1) }

// ParseSlot is the reverse of Slot.
func ParseSlot(s string) (netip.Prefix, error) {
	return netip.ParsePrefix(strings.Replace(s, "_", "/", 1))
}

// AddrsPrefix begins the shared keys of the pool's addresses.
func AddrsPrefix(p netip.Prefix) string { return AddrPrefix + Slot(p) + "/" }

// PoolKey is the pool's shared key.
func PoolKey(p netip.Prefix) string { return PoolPrefix + Slot(p) }

// HeldKey is the pool's key in a host's state.
func HeldKey(p netip.Prefix) string { return HeldPrefix + Slot(p) }

// AddrKey is the address's shared key.
func AddrKey(p netip.Prefix, a netip.Addr) string { return AddrPrefix + Slot(p) + "/" + a.String() }

// ClaimKey is the key of a host's claim in its state.
func ClaimKey(p netip.Prefix, a netip.Addr) string { return ClaimPrefix + Slot(p) + "/" + a.String() }

// ParseAddrKey is the reverse of AddrKey and ClaimKey.
func ParseAddrKey(prefix, key string) (netip.Prefix, netip.Addr, error) {
	rest, ok := strings.CutPrefix(key, prefix)
	pool, addr, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("key %q is no address's", key)
	}
	p, err := ParseSlot(pool)
	if err != nil {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("key %q: %w", key, err)
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("key %q: %w", key, err)
	}
	if p != p.Masked() || !p.Contains(a) || a.Zone() != "" || prefix+Slot(p)+"/"+a.String() != key {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("key %q: the address is not in the pool", key)
	}
	return p, a, nil
}
