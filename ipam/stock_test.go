package ipam

import (
	"testing"
	"testing/quick"
	"time"
)

func TestTarget(t *testing.T) {
	for _, test := range []struct {
		name string
		d    demand
		want int
	}{
		{"large and quiet", demand{size: 65534, free: 65000, hosts: 10}, 8},
		{"large and busy", demand{recent: 50, size: 65534, free: 65000, hosts: 10}, 16},
		{"a /24 of three hosts", demand{size: 254, free: 253, hosts: 3}, 8},
		{"a /24 of fifty hosts", demand{recent: 8, size: 254, free: 253, hosts: 50}, 1},
		{"a /24 that is nearly full", demand{recent: 8, size: 254, free: 7, hosts: 2}, 0},
		{"a /29", demand{recent: 8, size: 6, free: 5, hosts: 2}, 0},
		{"a quiet /27 of one host", demand{size: 30, free: 29, hosts: 1}, 2},
		{"nobody counted the hosts", demand{size: 254, free: 253}, 8},
	} {
		if got := target(test.d); got != test.want {
			t.Errorf("%s: target %d, want %d", test.name, got, test.want)
		}
	}
}

// Filling and giving back never chase each other, and all hosts' stocks
// together leave most of the pool free.
func TestStockSettles(t *testing.T) {
	property := func(recent, stock, hosts uint8, free, size uint16) bool {
		d := demand{recent: int(recent), size: uint64(size), free: uint64(free), hosts: int(hosts)}
		want := target(d)
		n := int(stock)
		n += missing(n, want) - surplus(n, want)
		return missing(n, want) == 0 && surplus(n, want) == 0 && n >= 0 && want <= maxStock &&
			want*max(int(hosts), 1)*4 <= int(free)
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

// Whatever was drawn before, a host of a quiet pool has eight addresses ahead.
func TestEightStartsArePromised(t *testing.T) {
	for used := range 20 {
		d := demand{recent: min(used, maxStock/2), size: 254, free: 200, hosts: 3}
		for stock := range maxStock + 1 {
			if n := stock + missing(stock, target(d)); n < largeStock {
				t.Errorf("after %d starts, a stock of %d is filled up to %d", used, stock, n)
			}
		}
	}
}

func TestRecent(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var r recent
	for i := range 100 {
		r.add(now.Add(time.Duration(i) * time.Minute))
	}
	if len(r) > maxStock {
		t.Errorf("remembers %d allocations", len(r))
	}
	if got := r.count(now.Add(99*time.Minute + lookBack - 2*time.Minute)); got != 3 {
		t.Errorf("counts %d, want 3", got)
	}
}
