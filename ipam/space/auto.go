package space

import "net/netip"

// Auto is a prefix that is cut into pools for networks made without a subnet.
type Auto struct {
	Base netip.Prefix // masked
	Bits int          // length of the pools
}

// blocks is the number of pools in Base, at most 2^32.
func (a Auto) blocks() uint64 { return 1 << min(max(a.Bits-a.Base.Bits(), 0), 32) }

// block is the pool number i.
func (a Auto) block(i uint64) netip.Prefix {
	base := a.Base.Masked().Addr()
	n := number(base).add(uint128{lo: i}.shl(base.BitLen() - a.Bits))
	return netip.PrefixFrom(n.addr(base), a.Bits)
}

// FirstFree gives a pool that overlaps nothing in taken, of the first base that has
// one. Where it begins to look is random, so that two hosts rarely choose the same pool
// at once. random(k) gives a number below k.
func FirstFree(bases []Auto, taken []netip.Prefix, random func(uint64) uint64) (netip.Prefix, bool) {
	for _, base := range bases {
		if p, ok := base.next(taken, random(base.blocks())); ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// next gives the first pool at or after number start, going round, that
// overlaps nothing in taken.
func (a Auto) next(taken []netip.Prefix, start uint64) (netip.Prefix, bool) {
	count := a.blocks()
	shift := a.Base.Addr().BitLen() - a.Bits
	start %= count
	for tried := uint64(0); tried < count; {
		i := (start + tried) % count
		block := a.block(i)
		hit, ok := Overlapping(taken, block)
		if !ok {
			return block, true
		}
		tried++
		// Go on behind what was hit, not block by block through it.
		past := number(lastOf(hit)).sub(number(a.Base.Masked().Addr())).shr(shift).uint64()
		if hit.Bits() < a.Bits && past > i && past < count {
			tried += past - i
		} else if hit.Bits() <= a.Base.Bits() {
			return netip.Prefix{}, false
		}
	}
	return netip.Prefix{}, false
}

// Overlapping gives one of the prefixes that shares an address with p.
func Overlapping(prefixes []netip.Prefix, p netip.Prefix) (netip.Prefix, bool) {
	for _, q := range prefixes {
		if q.Overlaps(p) {
			return q, true
		}
	}
	return netip.Prefix{}, false
}
