// Package stock is how many addresses a host keeps claimed ahead of use: from what it
// needed lately, the size of the pool and what is free of it. Its numbers are pure.
package stock

import (
	"slices"
	"time"
)

// Default is how many addresses a host keeps claimed ahead in each pool, and Max the
// most that it can be told to keep.
const (
	Default = 8
	Max     = 64
)

// LookBack is the time over which a host looks back for its need.
const LookBack = 10 * time.Minute

const (
	smallStock = 2 // enough for a pool of less than largePool addresses
	largePool  = 200
)

// Demand is what the size of a stock depends on.
type Demand struct {
	Ahead  int    // starts that a quiet host of a large pool is to serve without the store
	Recent int    // allocations within LookBack
	Size   uint64 // addresses of the pool
	Free   uint64 // of them that nobody has claimed
	Hosts  int    // that draw from the pool
	Used   uint64 // of the addresses, by endpoints of any host
	Users  int    // hosts with such an endpoint
	User   bool   // this host is one
}

// Target is the stock to keep: twice what was needed lately, and at least what
// the host was told, or smallStock in a small pool. It is never more than the
// host's fair share, or what a host with containers keeps in any case.
func Target(d Demand) int {
	least := d.Ahead
	if d.Size < largePool {
		least = min(d.Ahead, smallStock)
	}
	t := min(max(2*d.Recent, least), 2*d.Ahead)
	share := fairShare(d)
	if d.User && d.Free > 0 {
		share = max(share, min(smallStock, usersShare(d)))
	}
	return int(min(uint64(t), share)) //nolint:gosec // at most twice Max
}

// fairShare is the most that one host may keep of what is free: all hosts
// together a quarter of it. So a pool that is nearly used up has no stock, and
// every host gives back what it had.
func fairShare(d Demand) uint64 {
	return d.Free / (4 * uint64(max(d.Hosts, 1))) //nolint:gosec // hosts
}

// usersShare is what a host with containers may keep where many hosts could have some and
// the fair share is nothing: hosts with containers together half of what no endpoint has.
// It does not follow from what others have claimed, or all hosts would give back and claim
// again in turn.
func usersShare(d Demand) uint64 {
	return (d.Size - min(d.Size, d.Used)) / (2 * uint64(max(d.Users, 1))) //nolint:gosec // hosts
}

// Missing is how many addresses to claim. A stock is filled when half of the
// target is gone, so that one transaction serves several starts, but not below
// ahead: so many starts are promised without the store, at any moment.
func Missing(stock, target, ahead int) int {
	if stock > target/2 && stock >= ahead || stock >= target {
		return 0
	}
	return target - stock
}

// Surplus is how many addresses to give back: nothing up to twice the target.
func Surplus(stock, target int) int {
	if stock <= 2*target {
		return 0
	}
	return stock - target
}

// Recent remembers the last allocations, as many as Target can tell apart.
type Recent []time.Time

// Add notes an allocation.
func (r *Recent) Add(now time.Time) {
	*r = append(*r, now)
	if len(*r) > Max {
		*r = slices.Delete(*r, 0, len(*r)-Max)
	}
}

// Count is the number of allocations within LookBack.
func (r Recent) Count(now time.Time) int {
	n := 0
	for _, t := range r {
		if now.Sub(t) <= LookBack {
			n++
		}
	}
	return n
}
