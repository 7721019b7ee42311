// Package claim is what a host has claimed: how a claim looks on the host and in the
// store that all hosts share, and what follows when the two differ. It is pure: the
// comparison is a value, made without store, clock or lock.
package claim

import (
	"net/netip"
	"slices"
	"time"
)

// State is what this host does with an address that it has claimed.
type State string

// The states of a claim, as they are recorded.
const (
	InStock State = "stock"
	InUse   State = "used"
	Leaving State = "leaving" // a delete may be under way: nobody gets it before the key is gone
)

// Claim is what this host records of an address that it has claimed.
type Claim struct {
	State    State     `json:"state"`
	At       time.Time `json:"at"` // since when in this state
	Explicit bool      `json:"explicit,omitempty"`
	Born     Birth     `json:"born,omitzero"`
	Lost     string    `json:"lost,omitempty"` // the host that has it according to the shared store
}

// HandOut is the claim of an address that Docker gets now.
func (c Claim) HandOut(now time.Time, explicit bool) *Claim {
	return &Claim{State: InUse, At: now, Explicit: explicit, Born: c.Born}
}

// Held says whether the address is this host's, now and for some time to come.
func (c Claim) Held() bool { return c.State != Leaving && c.Lost == "" }

// Claims are one host's claims in one pool.
type Claims map[netip.Addr]Claim

// Which gives the addresses whose claims want accepts, the one that has been in its
// state longest first.
func (cs Claims) Which(want func(netip.Addr, Claim) bool) []netip.Addr {
	var out []netip.Addr
	for a, c := range cs {
		if want(a, c) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(x, y netip.Addr) int {
		if d := cs[x].At.Compare(cs[y].At); d != 0 {
			return d
		}
		return x.Compare(y)
	})
	return out
}

// In gives the addresses in a state, the one that has been in it longest first.
func (cs Claims) In(s State) []netip.Addr {
	return cs.Which(func(_ netip.Addr, c Claim) bool { return c.State == s })
}
