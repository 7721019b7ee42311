package space

import "net/netip"

// Share is the part of a span that one of several hosts draws from first: every
// Of-th address, from number Nth on, counted from 0. So two hosts rarely choose the
// same address, even if neither knows what the other has because the store has lost
// it. The zero Share is the whole span.
type Share struct{ Nth, Of int }

func (s Share) has(i uint64) bool {
	return s.Of <= 1 || i%uint64(s.Of) == uint64(s.Nth) //nolint:gosec // hosts
}

// Walked is the size of the largest span of which Pick looks at every address, which
// takes 0.1 ms.
const Walked = 4096

// Pick draws up to n different addresses that are not in taken, those of the share
// first. random(k) gives a number below k. However large the span is, Pick looks at no
// more addresses than Walked or a few times the number of those in taken.
func (s Span) Pick(n int, taken Set, first Share, random func(uint64) uint64) []netip.Addr {
	size := s.Size()
	if size == 0 || n <= 0 {
		return nil
	}
	if size > Walked && size/2 > uint64(len(taken)+n) {
		return s.pickSparse(n, taken, first, random)
	}
	var own, others []netip.Addr
	for i := range size {
		switch a := s.At(i); {
		case taken.Has(a):
		case first.has(i):
			own = append(own, a)
		default:
			others = append(others, a)
		}
	}
	out := draw(n, own, random)
	return append(out, draw(n-len(out), others, random)...)
}

// pickSparse is Pick for a span of which at least every second address is free.
func (s Span) pickSparse(n int, taken Set, first Share, random func(uint64) uint64) []netip.Addr {
	var out []netip.Addr
	drawn := make(Set, n)
	try := func(i uint64) {
		if a := s.At(i); !taken.Has(a) && !drawn.Has(a) {
			drawn[a] = struct{}{}
			out = append(out, a)
		}
	}
	size, of := s.Size(), uint64(first.Of) //nolint:gosec // hosts
	// The share itself may be nearly full.
	for tries := 4 * n; of > 1 && tries > 0 && len(out) < n; tries-- {
		if i := random(size/of+1)*of + uint64(first.Nth); i < size { //nolint:gosec // hosts
			try(i)
		}
	}
	for len(out) < n {
		try(random(size))
	}
	return out
}

// draw takes up to n of the addresses at random, and changes from.
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
