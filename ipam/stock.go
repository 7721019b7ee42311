package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// How many addresses a host keeps claimed ahead, and the time over which it
// looks back for its need.
const (
	minStock   = 2
	largeStock = 8 // least, in a pool of at least largePool addresses
	maxStock   = 16
	largePool  = 200
	lookBack   = 10 * time.Minute
)

// demand is what the size of a stock depends on.
type demand struct {
	recent int    // allocations within lookBack
	size   uint64 // addresses of the pool
	free   uint64 // of them that nobody has claimed
	hosts  int    // that draw from the pool
}

// target is the stock to keep: twice what was needed lately, but so little in
// a small pool that all hosts' stocks together leave most of it free.
func target(d demand) int {
	least := minStock
	if d.size >= largePool {
		least = largeStock
	}
	t := min(max(2*d.recent, least), maxStock)
	return int(min(uint64(t), d.free/(4*uint64(max(d.hosts, 1))))) //nolint:gosec // at most maxStock
}

// missing is how many addresses to claim. A stock is filled when half of the
// target is gone, so that one transaction serves several starts, but not below
// largeStock: so many starts are promised without the store, at any moment.
func missing(stock, target int) int {
	if stock > target/2 && stock >= largeStock || stock >= target {
		return 0
	}
	return target - stock
}

// surplus is how many addresses to give back: nothing up to twice the target.
func surplus(stock, target int) int {
	if stock <= 2*target {
		return 0
	}
	return stock - target
}

// recent remembers the last allocations, as many as target can tell apart.
type recent []time.Time

func (r *recent) add(now time.Time) {
	*r = append(*r, now)
	if len(*r) > maxStock/2 {
		*r = slices.Delete(*r, 0, len(*r)-maxStock/2)
	}
}

func (r recent) count(now time.Time) int {
	n := 0
	for _, t := range r {
		if now.Sub(t) <= lookBack {
			n++
		}
	}
	return n
}

// oldest gives up to n addresses of the claims that want accepts, the one that
// has been unused longest first.
func oldest(claims map[netip.Addr]claim, n int, want func(netip.Addr, claim) bool) []netip.Addr {
	var out []netip.Addr
	for a, c := range claims {
		if want(a, c) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(x, y netip.Addr) int {
		if d := claims[x].At.Compare(claims[y].At); d != 0 {
			return d
		}
		return x.Compare(y)
	})
	return out[:min(n, len(out))]
}
