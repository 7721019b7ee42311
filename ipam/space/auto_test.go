package space

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/quick"
)

func TestAutoNext(t *testing.T) {
	for _, test := range []struct {
		base  string
		bits  int
		taken []string
		start uint64
		want  string
	}{
		{"10.128.0.0/10", 24, nil, 0, "10.128.0.0/24"},
		{"10.128.0.0/10", 24, nil, 1<<14 - 1, "10.191.255.0/24"},
		{"10.128.0.0/10", 24, []string{"10.191.255.128/25"}, 1<<14 - 1, "10.128.0.0/24"},
		{"10.128.0.0/10", 24, []string{"10.128.0.0/11"}, 5, "10.160.0.0/24"},
		{"10.128.0.0/10", 24, []string{"10.160.0.0/11"}, 1 << 13, "10.128.0.0/24"},
		{"10.128.0.0/10", 24, []string{"10.0.0.0/8"}, 7, "none"},
		{"10.128.0.0/10", 24, []string{"10.128.0.0/11", "10.160.0.0/11"}, 7, "none"},
		{"10.128.0.0/24", 24, nil, 9, "10.128.0.0/24"},
		{"10.128.0.0/24", 24, []string{"10.128.0.1/32"}, 9, "none"},
		{"fd00:1:2::/48", 64, []string{"fd00:1:2:3::/64"}, 3, "fd00:1:2:4::/64"},
		{"fd00::/8", 64, nil, 1, "fd00:0:0:1::/64"},
	} {
		a := Auto{Base: netip.MustParsePrefix(test.base), Bits: test.bits}
		var taken []netip.Prefix
		for _, s := range test.taken {
			taken = append(taken, netip.MustParsePrefix(s))
		}
		got := "none"
		if p, ok := a.next(taken, test.start); ok {
			got = p.String()
		}
		if got != test.want {
			t.Errorf("%v without %v from %d gives %s, want %s", a, test.taken, test.start, got, test.want)
		}
	}
}

// next finds a free pool if and only if there is one.
func TestAutoNextAgainstTryingAll(t *testing.T) {
	property := func(seed uint64, count uint8) bool {
		rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's
		a := Auto{Base: netip.MustParsePrefix("10.128.0.0/18"), Bits: 24}
		var taken []netip.Prefix
		for range count {
			i := rng.Uint64N(1 << 16)
			p := netip.PrefixFrom(uint128{lo: 0x0a80<<16 | i}.addr(netip.IPv4Unspecified()), 19+rng.IntN(13))
			taken = append(taken, p.Masked())
		}
		free := 0
		for i := range a.blocks() {
			if _, hit := Overlapping(taken, a.block(i)); !hit {
				free++
			}
		}
		p, ok := a.next(taken, rng.Uint64())
		_, hit := Overlapping(taken, p)
		return ok == (free > 0) && (!ok || !hit && Within(a.Base, p) && p.Bits() == a.Bits)
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 3000}); err != nil {
		t.Error(err)
	}
}
