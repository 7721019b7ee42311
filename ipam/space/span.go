package space

import (
	"math"
	"net/netip"
)

// Set is a set of addresses.
type Set map[netip.Addr]struct{}

// Has says whether a is in the set.
func (s Set) Has(a netip.Addr) bool { _, ok := s[a]; return ok }

// Span is a run of addresses, both ends included.
type Span struct{ First, Last netip.Addr }

// Usable gives the addresses of the subnet that hosts may have: not the network
// address (in IPv6 the routers' anycast address, RFC 4291 section 2.6.1) and
// not the IPv4 broadcast. The two addresses of a point-to-point subnet are both
// usable (RFC 3021, RFC 6164), and so is the only one of a /32 or /128.
func Usable(subnet netip.Prefix) Span {
	s := Span{subnet.Masked().Addr(), lastOf(subnet)}
	if subnet.Addr().BitLen()-subnet.Bits() < 2 {
		return s
	}
	s.First = s.First.Next()
	if subnet.Addr().Is4() {
		s.Last = s.Last.Prev()
	}
	return s
}

// Dynamic gives the addresses that a pool hands out to whoever asks for any.
func Dynamic(id PoolID) Span {
	s := Usable(id.Subnet)
	if !id.Range.IsValid() {
		return s
	}
	if first := id.Range.Addr(); s.First.Less(first) {
		s.First = first
	}
	if last := lastOf(id.Range); last.Less(s.Last) {
		s.Last = last
	}
	return s
}

// Contains says whether a is one of the addresses.
func (s Span) Contains(a netip.Addr) bool {
	return a.BitLen() == s.First.BitLen() && !a.Less(s.First) && !s.Last.Less(a)
}

// Size is the number of addresses, at most math.MaxUint64.
func (s Span) Size() uint64 {
	if s.Last.Less(s.First) {
		return 0
	}
	n := number(s.Last).sub(number(s.First))
	if n.hi != 0 || n.lo == math.MaxUint64 {
		return math.MaxUint64
	}
	return n.lo + 1
}

// At is the address number i, counted from 0.
func (s Span) At(i uint64) netip.Addr {
	return number(s.First).add(uint128{lo: i}).addr(s.First)
}

// Free is the number of addresses not in taken.
func (s Span) Free(taken Set) uint64 {
	n := s.Size()
	for a := range taken {
		if s.Contains(a) {
			n--
		}
	}
	return n
}
