package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// DefaultStock is how many addresses a host keeps claimed ahead in each pool, and
// MaxStock the most that it can be told to keep.
const (
	DefaultStock = 8
	MaxStock     = 64
)

// What a stock depends on besides, and how many addresses one transaction claims.
const (
	smallStock = 2 // enough for a pool of less than largePool addresses
	largePool  = 200
	lookBack   = 10 * time.Minute // over which a host looks back for its need
	atOnce     = 16
)

// demand is what the size of a stock depends on.
type demand struct {
	ahead  int    // starts that a quiet host of a large pool is to serve without the store
	recent int    // allocations within lookBack
	size   uint64 // addresses of the pool
	free   uint64 // of them that nobody has claimed
	hosts  int    // that draw from the pool
}

// target is the stock to keep: twice what was needed lately, and at least what
// the host was told, or smallStock in a small pool. It is never more than the
// host's fair share.
func target(d demand) int {
	least := d.ahead
	if d.size < largePool {
		least = min(d.ahead, smallStock)
	}
	t := min(max(2*d.recent, least), 2*d.ahead)
	return int(min(uint64(t), fairShare(d))) //nolint:gosec // at most twice MaxStock
}

// fairShare is the most that one host may keep of what is free: all hosts
// together a quarter of it. So a pool that is nearly used up has no stock, and
// every host gives back what it had.
func fairShare(d demand) uint64 {
	return d.free / (4 * uint64(max(d.hosts, 1))) //nolint:gosec // hosts
}

// missing is how many addresses to claim. A stock is filled when half of the
// target is gone, so that one transaction serves several starts, but not below
// ahead: so many starts are promised without the store, at any moment.
func missing(stock, target, ahead int) int {
	if stock > target/2 && stock >= ahead || stock >= target {
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
	if len(*r) > MaxStock {
		*r = slices.Delete(*r, 0, len(*r)-MaxStock)
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
