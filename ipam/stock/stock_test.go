package stock

import (
	"testing"
	"testing/quick"
	"time"
)

func TestTarget(t *testing.T) {
	const many = 1000
	for _, test := range []struct {
		name string
		d    Demand
		want int
	}{
		{"large and quiet", Demand{Ahead: 8, Size: 65534, Free: 65000, Hosts: 10}, 8},
		{"large and busy", Demand{Ahead: 8, Recent: many, Size: 65534, Free: 65000, Hosts: 10}, 16},
		{"as many as it was told", Demand{Ahead: 40, Size: 65534, Free: 65000, Hosts: 10}, 40},
		{"as many as it was told, busy", Demand{Ahead: 40, Recent: many, Size: 65534, Free: 65000, Hosts: 10}, 80},
		{"only one", Demand{Ahead: 1, Recent: many, Size: 65534, Free: 65000, Hosts: 10}, 2},
		{"none", Demand{Ahead: 0, Recent: many, Size: 65534, Free: 65000, Hosts: 1}, 0},
		{"a /24 of three hosts", Demand{Ahead: 8, Size: 254, Free: 253, Hosts: 3}, 8},
		{"a /24 of fifty hosts", Demand{Ahead: 8, Recent: 8, Size: 254, Free: 253, Hosts: 50}, 1},
		{"a /24 that is nearly full", Demand{Ahead: 8, Recent: 8, Size: 254, Free: 7, Hosts: 2}, 0},
		{"a quiet /27 of one host", Demand{Ahead: 8, Size: 30, Free: 29, Hosts: 1}, 2},
		{"a quiet /28 of one host", Demand{Ahead: 64, Size: 14, Free: 13, Hosts: 1}, 2},
		{"a busy /28 of one host", Demand{Ahead: 64, Recent: many, Size: 14, Free: 13, Hosts: 1}, 3},
		{"a busy /28 of three hosts", Demand{Ahead: 64, Recent: many, Size: 14, Free: 13, Hosts: 3}, 1},
		{"a /28 of four hosts", Demand{Ahead: 8, Size: 14, Free: 13, Hosts: 4}, 0},
		{"a /29", Demand{Ahead: 8, Recent: 8, Size: 6, Free: 5, Hosts: 2}, 0},
		{"a /24 of a hundred hosts, without a container", Demand{Ahead: 8, Size: 254, Free: 250, Hosts: 100, Used: 3, Users: 3}, 0},
		{"a /24 of a hundred hosts, with one", Demand{Ahead: 8, Size: 254, Free: 247, Hosts: 100, Used: 3, Users: 3, User: true}, 2},
		{"a /24 of which a hundred hosts have one each", Demand{Ahead: 8, Size: 254, Free: 54, Hosts: 100, Used: 100, Users: 100, User: true}, 0},
		{"a /24 of which sixty hosts have one each", Demand{Ahead: 8, Size: 254, Free: 134, Hosts: 60, Used: 60, Users: 60, User: true}, 1},
		{"a /24 of which all is claimed", Demand{Ahead: 8, Size: 254, Hosts: 60, Used: 60, Users: 60, User: true}, 0},
		{"none, with a container", Demand{Ahead: 0, Size: 254, Free: 247, Hosts: 100, Used: 3, Users: 3, User: true}, 0},
		{"nobody counted the hosts", Demand{Ahead: 8, Size: 254, Free: 253}, 8},
	} {
		if got := Target(test.d); got != test.want {
			t.Errorf("%s: target %d, want %d", test.name, got, test.want)
		}
	}
}

// Filling and giving back never chase each other, and all hosts' stocks
// together leave most of the pool free.
func TestStockSettles(t *testing.T) {
	property := func(ahead, recent, stock, hosts, users uint8, free, size, used uint16, user bool) bool {
		d := Demand{
			Ahead: int(ahead) % (Max + 1), Recent: int(recent),
			Size: uint64(size), Free: uint64(free), Hosts: int(hosts),
			Used: uint64(used), Users: int(users), User: user,
		}
		want := Target(d)
		n := int(stock)
		n += Missing(n, want, d.Ahead) - Surplus(n, want)
		bounded := want*max(int(hosts), 1)*4 <= int(free) ||
			user && want <= smallStock && want*max(int(users), 1)*2+int(used) <= int(size)
		return Missing(n, want, d.Ahead) == 0 && Surplus(n, want) == 0 && n >= 0 && want <= 2*d.Ahead && bounded
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

// Whatever was drawn before, a host of a quiet pool has as many addresses ahead as
// it was told.
func TestStartsArePromised(t *testing.T) {
	for _, ahead := range []int{1, 2, Default, Max} {
		for used := range 2 * ahead {
			d := Demand{Ahead: ahead, Recent: used, Size: 2046, Free: 2000, Hosts: 3}
			for stock := range 2*ahead + 1 {
				if n := stock + Missing(stock, Target(d), ahead); n < ahead {
					t.Errorf("of %d, after %d starts, a stock of %d is filled up to %d", ahead, used, stock, n)
				}
			}
		}
	}
}

func TestRecent(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var r Recent
	for i := range 100 {
		r.Add(now.Add(time.Duration(i) * time.Minute))
	}
	if len(r) > Max {
		t.Errorf("remembers %d allocations", len(r))
	}
	if got := r.Count(now.Add(99*time.Minute + LookBack - 2*time.Minute)); got != 3 {
		t.Errorf("counts %d, want 3", got)
	}
}
