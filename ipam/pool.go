package ipam

import (
	"fmt"
	"math"
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
	if id.Subnet, err = parsePrefix(subnet); err != nil {
		return PoolID{}, fmt.Errorf("pool id %q: %w", s, err)
	}
	if ranged {
		if id.Range, err = parsePrefix(ipRange); err != nil {
			return PoolID{}, fmt.Errorf("pool id %q: %w", s, err)
		}
	}
	if err := id.check(); err != nil {
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

func (id PoolID) check() error {
	if id.Range.IsValid() && !within(id.Subnet, id.Range) {
		return fmt.Errorf("range %v is not inside subnet %v", id.Range, id.Subnet)
	}
	return nil
}

// parsePrefix refuses what netip takes but no network can have.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no subnet: write it like 10.1.0.0/24", s)
	}
	return p, checkPrefix(p)
}

func checkPrefix(p netip.Prefix) error {
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

// within says whether inner is part of outer.
func within(outer, inner netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

// set is a set of addresses.
type set map[netip.Addr]struct{}

func (s set) has(a netip.Addr) bool { _, ok := s[a]; return ok }

// span is a run of addresses, both ends included.
type span struct{ first, last netip.Addr }

// usable gives the addresses of the subnet that hosts may have: not the network
// address (in IPv6 the routers' anycast address, RFC 4291 section 2.6.1) and
// not the IPv4 broadcast. The two addresses of a point-to-point subnet are both
// usable (RFC 3021, RFC 6164), so is the only one of a /32 or /128.
func usable(subnet netip.Prefix) span {
	s := span{subnet.Masked().Addr(), lastOf(subnet)}
	if subnet.Addr().BitLen()-subnet.Bits() < 2 {
		return s
	}
	s.first = s.first.Next()
	if subnet.Addr().Is4() {
		s.last = s.last.Prev()
	}
	return s
}

// dynamic gives the addresses from which a pool hands out when none is asked for.
func dynamic(id PoolID) span {
	s := usable(id.Subnet)
	if !id.Range.IsValid() {
		return s
	}
	if first := id.Range.Addr(); s.first.Less(first) {
		s.first = first
	}
	if last := lastOf(id.Range); last.Less(s.last) {
		s.last = last
	}
	return s
}

func (s span) contains(a netip.Addr) bool {
	return a.BitLen() == s.first.BitLen() && !a.Less(s.first) && !s.last.Less(a)
}

// size is the number of addresses, at most math.MaxUint64.
func (s span) size() uint64 {
	if s.last.Less(s.first) {
		return 0
	}
	n := number(s.last).sub(number(s.first))
	if n.hi != 0 || n.lo == math.MaxUint64 {
		return math.MaxUint64
	}
	return n.lo + 1
}

func (s span) at(i uint64) netip.Addr {
	return number(s.first).add(uint128{lo: i}).addr(s.first)
}

// free is the number of addresses not in taken.
func (s span) free(taken set) uint64 {
	n := s.size()
	for a := range taken {
		if s.contains(a) {
			n--
		}
	}
	return n
}

// share is the part of a span that one of several hosts draws from first: every
// of-th address, from the nth on, counted from 0. So hosts rarely choose the
// same address, even those that know nothing of each other since the store has
// lost what they had. The zero share is all of the span.
type share struct{ nth, of int }

func (s share) has(i uint64) bool {
	return s.of <= 1 || i%uint64(s.of) == uint64(s.nth) //nolint:gosec // hosts
}

// walked is the size of a span up to which pick looks at every address of it. That
// takes 0.1 ms.
const walked = 4096

// pick draws up to n different addresses that are not in taken, those in the
// share first. random(k) gives a number below k. It looks at no more addresses than
// walked or a few times those in taken, however large the span is.
func (s span) pick(n int, taken set, first share, random func(uint64) uint64) []netip.Addr {
	size := s.size()
	if size == 0 || n <= 0 {
		return nil
	}
	if size > walked && size/2 > uint64(len(taken)+n) {
		return s.pickSparse(n, taken, first, random)
	}
	var own, others []netip.Addr
	for i := range size {
		switch a := s.at(i); {
		case taken.has(a):
		case first.has(i):
			own = append(own, a)
		default:
			others = append(others, a)
		}
	}
	out := draw(n, own, random)
	return append(out, draw(n-len(out), others, random)...)
}

// pickSparse is pick where at least every second draw is free.
func (s span) pickSparse(n int, taken set, first share, random func(uint64) uint64) []netip.Addr {
	var out []netip.Addr
	drawn := make(set, n)
	try := func(i uint64) {
		if a := s.at(i); !taken.has(a) && !drawn.has(a) {
			drawn[a] = struct{}{}
			out = append(out, a)
		}
	}
	size, of := s.size(), uint64(first.of) //nolint:gosec // hosts
	// The share itself may be nearly full.
	for tries := 4 * n; of > 1 && tries > 0 && len(out) < n; tries-- {
		if i := random(size/of+1)*of + uint64(first.nth); i < size { //nolint:gosec // hosts
			try(i)
		}
	}
	for len(out) < n {
		try(random(size))
	}
	return out
}

// draw takes up to n of the addresses at random.
func draw(n int, from []netip.Addr, random func(uint64) uint64) []netip.Addr {
	var out []netip.Addr
	for range min(n, len(from)) {
		i := random(uint64(len(from)))
		out = append(out, from[i])
		from[i] = from[len(from)-1]
		from = from[:len(from)-1]
	}
	return out
}
