package space

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"
)

func TestUsable(t *testing.T) {
	for _, test := range []struct {
		subnet, ipRange string
		first, last     string
		size            uint64
	}{
		{"10.1.0.0/24", "", "10.1.0.1", "10.1.0.254", 254},
		{"10.0.0.0/8", "", "10.0.0.1", "10.255.255.254", 1<<24 - 2},
		{"10.1.0.0/30", "", "10.1.0.1", "10.1.0.2", 2},
		{"10.1.0.0/31", "", "10.1.0.0", "10.1.0.1", 2},
		{"10.1.0.7/32", "", "10.1.0.7", "10.1.0.7", 1},
		{"10.1.0.0/16", "10.1.8.0/24", "10.1.8.0", "10.1.8.255", 256},
		{"10.1.0.0/16", "10.1.0.0/24", "10.1.0.1", "10.1.0.255", 255},
		{"10.1.0.0/16", "10.1.255.0/24", "10.1.255.0", "10.1.255.254", 255},
		{"10.1.0.0/16", "10.1.0.0/32", "10.1.0.1", "10.1.0.0", 0},
		{"fd00::/64", "", "fd00::1", "fd00::ffff:ffff:ffff:ffff", math.MaxUint64},
		{"fd00::/63", "", "fd00::1", "fd00::1:ffff:ffff:ffff:ffff", math.MaxUint64},
		{"fd00::/8", "", "fd00::1", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", math.MaxUint64},
		{"fd00::/126", "", "fd00::1", "fd00::3", 3},
		{"fd00::/127", "", "fd00::", "fd00::1", 2},
		{"fd00::9/128", "", "fd00::9", "fd00::9", 1},
		{"fd00::/64", "fd00::80/121", "fd00::80", "fd00::ff", 128},
	} {
		id := PoolID{Subnet: netip.MustParsePrefix(test.subnet)}
		if test.ipRange != "" {
			id.Range = netip.MustParsePrefix(test.ipRange)
		}
		s := Dynamic(id)
		got := []any{s.First.String(), s.Last.String(), s.Size()}
		if diff := cmp.Diff([]any{test.first, test.last, test.size}, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", id, diff)
		}
	}
}

func TestParsePoolID(t *testing.T) {
	for _, s := range []string{"10.50.0.0/16", "10.50.0.0/16,10.50.8.0/24", "fd00::/64,fd00::80/121", "10.1.0.7/32"} {
		if id, err := ParsePoolID(s); err != nil || id.String() != s {
			t.Errorf("%q becomes %q, %v", s, id, err)
		}
	}
	for _, s := range []string{"", "x", "10.50.0.1/16", "10.50.0.0/16,", "10.50.0.0/16,10.51.0.0/24", "::ffff:10.0.0.0/104", "10.0.0.0/7"} {
		if id, err := ParsePoolID(s); err == nil {
			t.Errorf("%q becomes %v", s, id)
		}
	}
}

func FuzzParsePoolID(f *testing.F) {
	f.Add("10.50.0.0/16,10.50.8.0/24")
	f.Add("fd00::/64")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParsePoolID(s)
		if err != nil {
			return
		}
		if again, err := ParsePoolID(id.String()); err != nil || again != id {
			t.Errorf("%q becomes %v becomes %v, %v", s, id, again, err)
		}
		for _, a := range Dynamic(id).Pick(3, Set{}, Share{}, rand.Uint64N) {
			if !id.Subnet.Contains(a) {
				t.Errorf("%v is not in %v", a, id)
			}
		}
	})
}

// Whatever is taken, picked addresses are free, usable and different, and
// there are as many as asked for unless there are no more.
func TestPick(t *testing.T) {
	property := func(seed uint64, bits, fill, n, nth, of uint8, v6 bool) bool {
		rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's
		subnet := netip.PrefixFrom(netip.MustParseAddr("10.16.0.0"), 8+int(bits)%25).Masked()
		if v6 {
			subnet = netip.PrefixFrom(netip.MustParseAddr("fd00::"), 8+int(bits)%121).Masked()
		}
		s := Usable(subnet)
		taken := Set{}
		for range min(s.Size(), 2000) * uint64(fill) / 255 {
			taken[s.At(rng.Uint64N(s.Size()))] = struct{}{}
		}
		free := s.Free(taken)
		got := s.Pick(int(n), taken, Share{int(nth), int(of)}, rng.Uint64N)
		seen := Set{}
		for _, a := range got {
			if taken.Has(a) || seen.Has(a) || !s.Contains(a) {
				t.Logf("%v of %v, picked %v", a, subnet, got)
				return false
			}
			seen[a] = struct{}{}
		}
		return uint64(len(got)) == min(free, uint64(n))
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestPickReachesEveryAddress(t *testing.T) {
	s := Usable(netip.MustParsePrefix("10.0.0.0/28"))
	taken := Set{s.First: {}}
	seen := Set{}
	for range 1000 {
		seen[s.Pick(1, taken, Share{}, rand.Uint64N)[0]] = struct{}{}
	}
	if len(seen) != 13 {
		t.Errorf("reached %d of 13 addresses", len(seen))
	}
}

// Hosts that draw from one pool without knowing of each other's claims choose
// different addresses as long as their shares last, and then any.
func TestPickTakesTheShareFirst(t *testing.T) {
	for _, subnet := range []string{"10.0.0.0/27", "10.0.0.0/16", "fd00::/64"} { // 30 addresses, of them 7 or 8 each host's
		s := Usable(netip.MustParsePrefix(subnet))
		seen := Set{}
		for nth := range 4 {
			for _, a := range s.Pick(7, Set{}, Share{nth, 4}, rand.Uint64N) {
				if seen.Has(a) {
					t.Errorf("%v of %s is chosen twice", a, subnet)
				}
				seen[a] = struct{}{}
			}
		}
	}
	s, taken := Usable(netip.MustParsePrefix("10.0.0.0/27")), Set{}
	for i := range uint64(7) {
		taken[s.At(4*i+3)] = struct{}{}
	}
	if got := s.Pick(5, taken, Share{3, 4}, rand.Uint64N); len(got) != 5 {
		t.Errorf("with its share full, a host gets %v", got)
	}
}

func BenchmarkPickFromCrowdedPool(b *testing.B) {
	s := Usable(netip.MustParsePrefix("10.0.0.0/16"))
	taken := Set{}
	for len(taken) < 60000 {
		taken[s.At(rand.Uint64N(s.Size()))] = struct{}{} //nolint:gosec // a test's
	}
	for b.Loop() {
		s.Pick(16, taken, Share{1, 3}, rand.Uint64N)
	}
}
