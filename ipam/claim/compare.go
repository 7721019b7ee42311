package claim

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam/space"
)

// Limits is why this host decides less than the keys seem to say.
type Limits struct {
	// Frozen: the shared store has lost data, and hosts record again what they have.
	Frozen bool
	// Yields: this host was declared dead. Whoever has one of its addresses keeps it.
	Yields bool
}

// waits says whether nobody gives up an address in use yet.
func (d Limits) waits() bool { return d.Frozen && !d.Yields }

// Verdict is what follows for one claim from the address's key.
type Verdict int

// The verdicts.
const (
	Agreed    Verdict = iota // the key is this host's
	Regained                 // the key is this host's again, which had noted the address as lost
	Undecided                // the key is another host's, which may be about to let go of it
	Older                    // the key is another host's, which claimed the address after this host
	Gone                     // the key is another host's; or there is none, and the address was leaving
	Absent                   // there is no key, and the address is still this host's
)

// Judge says what follows for a claim from the address's key, if there is one.
func Judge(self Self, c Claim, e Entry, exists bool, d Limits) Verdict {
	mine := exists && self.Has(e.Holder)
	switch {
	case mine && c.Lost != "":
		return Regained
	case mine:
		return Agreed
	case exists && d.waits() && c.State == InUse:
		return Undecided
	case exists && c.older(e, d):
		return Older
	case exists, c.State == Leaving:
		return Gone
	default:
		return Absent
	}
}

// older says whether the address is in use here and was claimed before the key's holder
// claimed it. The holder got it only because the store had lost this host's claim.
func (c Claim) older(e Entry, d Limits) bool {
	return c.State == InUse && c.Lost == "" && !d.Yields && c.Born.Before(e.Born())
}

// Differences are the claims that are not what the keys say. Every list is sorted.
type Differences struct {
	Adopt    []netip.Addr // keys of this host that it does not know
	Stranded []netip.Addr // keys of an earlier incarnation that this one does not know
	Regained []netip.Addr
	Absent   []netip.Addr // those in use first
	Older    []netip.Addr
	Gone     []netip.Addr
}

// Compare finds the differences between this host's claims in a pool and the pool's
// keys. Of the addresses in unread nobody knows whose they are: those claims stay.
func Compare(self Self, claims Claims, keys Entries, unread space.Set, d Limits) Differences {
	var out Differences
	for addr, e := range keys {
		if _, known := claims[addr]; known || !self.Has(e.Holder) {
			continue
		}
		if self.HasNow(e.Holder) {
			out.Adopt = append(out.Adopt, addr)
		} else {
			out.Stranded = append(out.Stranded, addr)
		}
	}
	var idle []netip.Addr // absent, and not in use
	for addr, c := range claims {
		if unread.Has(addr) {
			continue
		}
		e, exists := keys[addr]
		switch Judge(self, c, e, exists, d) {
		case Agreed, Undecided:
		case Regained:
			out.Regained = append(out.Regained, addr)
		case Older:
			out.Older = append(out.Older, addr)
		case Gone:
			out.Gone = append(out.Gone, addr)
		case Absent:
			if c.State == InUse {
				out.Absent = append(out.Absent, addr)
			} else {
				idle = append(idle, addr)
			}
		}
	}
	for _, list := range [][]netip.Addr{out.Adopt, out.Stranded, out.Regained, out.Absent, out.Older, out.Gone, idle} {
		slices.SortFunc(list, netip.Addr.Compare)
	}
	out.Absent = append(out.Absent, idle...)
	return out
}

// BroughtBack gives the keys of this host that it does not know and must not take into
// stock, sorted. A restored snapshot may have brought them back, and their addresses may
// be in use elsewhere: as long as hosts record again what they have, or if another host
// says that it has the address.
func BroughtBack(self Self, claims Claims, keys Entries, others map[netip.Addr]string, frozen bool) []netip.Addr {
	return keys.which(func(addr netip.Addr, e Entry) bool {
		_, known := claims[addr]
		return !known && self.HasNow(e.Holder) && (frozen || others[addr] != "")
	})
}

// Unconfirmed gives the keys that a write has to confirm, sorted. A reading alone may
// show the past. They are the ones that this host would adopt, and those of an earlier
// incarnation whose addresses are in use or in stock.
func Unconfirmed(self Self, claims Claims, keys Entries) []netip.Addr {
	return keys.which(func(addr netip.Addr, e Entry) bool {
		c, known := claims[addr]
		if self.HasNow(e.Holder) {
			return !known
		}
		return self.Has(e.Holder) && (c.State == InUse || c.State == InStock)
	})
}

func (es Entries) which(want func(netip.Addr, Entry) bool) []netip.Addr {
	var out []netip.Addr
	for addr, e := range es {
		if want(addr, e) {
			out = append(out, addr)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
