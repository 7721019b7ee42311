package ipam

import (
	"testing"
	"testing/quick"
	"time"
)

func TestTarget(t *testing.T) {
	const many = 1000
	for _, test := range []struct {
		name string
		d    demand
		want int
	}{
		{"large and quiet", demand{ahead: 8, size: 65534, free: 65000, hosts: 10}, 8},
		{"large and busy", demand{ahead: 8, recent: many, size: 65534, free: 65000, hosts: 10}, 16},
		{"as many as it was told", demand{ahead: 40, size: 65534, free: 65000, hosts: 10}, 40},
		{"as many as it was told, busy", demand{ahead: 40, recent: many, size: 65534, free: 65000, hosts: 10}, 80},
		{"only one", demand{ahead: 1, recent: many, size: 65534, free: 65000, hosts: 10}, 2},
		{"none", demand{ahead: 0, recent: many, size: 65534, free: 65000, hosts: 1}, 0},
		{"a /24 of three hosts", demand{ahead: 8, size: 254, free: 253, hosts: 3}, 8},
		{"a /24 of fifty hosts", demand{ahead: 8, recent: 8, size: 254, free: 253, hosts: 50}, 1},
		{"a /24 that is nearly full", demand{ahead: 8, recent: 8, size: 254, free: 7, hosts: 2}, 0},
		{"a quiet /27 of one host", demand{ahead: 8, size: 30, free: 29, hosts: 1}, 2},
		{"a quiet /28 of one host", demand{ahead: 64, size: 14, free: 13, hosts: 1}, 2},
		{"a busy /28 of one host", demand{ahead: 64, recent: many, size: 14, free: 13, hosts: 1}, 3},
		{"a busy /28 of three hosts", demand{ahead: 64, recent: many, size: 14, free: 13, hosts: 3}, 1},
		{"a /28 of four hosts", demand{ahead: 8, size: 14, free: 13, hosts: 4}, 0},
		{"a /29", demand{ahead: 8, recent: 8, size: 6, free: 5, hosts: 2}, 0},
		{"nobody counted the hosts", demand{ahead: 8, size: 254, free: 253}, 8},
	} {
		if got := target(test.d); got != test.want {
			t.Errorf("%s: target %d, want %d", test.name, got, test.want)
		}
	}
}

// Filling and giving back never chase each other, and all hosts' stocks
// together leave most of the pool free.
func TestStockSettles(t *testing.T) {
	property := func(ahead, recent, stock, hosts uint8, free, size uint16) bool {
		d := demand{
			ahead: int(ahead) % (MaxStock + 1), recent: int(recent),
			size: uint64(size), free: uint64(free), hosts: int(hosts),
		}
		want := target(d)
		n := int(stock)
		n += missing(n, want, d.ahead) - surplus(n, want)
		return missing(n, want, d.ahead) == 0 && surplus(n, want) == 0 && n >= 0 && want <= 2*d.ahead &&
			want*max(int(hosts), 1)*4 <= int(free)
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

// Whatever was drawn before, a host of a quiet pool has as many addresses ahead as
// it was told.
func TestStartsArePromised(t *testing.T) {
	for _, ahead := range []int{1, 2, DefaultStock, MaxStock} {
		for used := range 2 * ahead {
			d := demand{ahead: ahead, recent: used, size: 2046, free: 2000, hosts: 3}
			for stock := range 2*ahead + 1 {
				if n := stock + missing(stock, target(d), ahead); n < ahead {
					t.Errorf("of %d, after %d starts, a stock of %d is filled up to %d", ahead, used, stock, n)
				}
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
	if len(r) > MaxStock {
		t.Errorf("remembers %d allocations", len(r))
	}
	if got := r.count(now.Add(99*time.Minute + lookBack - 2*time.Minute)); got != 3 {
		t.Errorf("counts %d, want 3", got)
	}
}
