package registry

import (
	"net/netip"
	"slices"
	"time"
)

// # When the store and the hosts' states are lost at once
//
// Then only Docker and the kernels know what there is, and no host knows another
// by name. But where a container runs, the kernel has its network's id and VNI,
// and the VTEPs of the other hosts with addresses in it. So a host that finds
// its kernel full and its state empty begins an epoch that names those VTEPs, if
// the store's does not await them already: nothing new is claimed by any host
// before each of them has recorded again what it has. Nor is anything taken out
// of a kernel until then, since what it knows of the others is not in any record
// yet, and containers talk by it.
//
// Networks are made again by whoever has them in its kernel, under their old ids,
// by create only: so all of these hosts make one record, whoever is first. What no
// kernel has comes after them, see Remake.

// remainingLocked gives the VTEPs of the hosts that have addresses in the networks
// of this one's containers, and its own, if it knows them by its kernel only; sorted.
func (r *Registry) remainingLocked() []netip.Addr {
	if len(r.rebuild.remains) == 0 {
		return nil
	}
	out := []netip.Addr{r.self.VTEP}
	for _, n := range r.rebuild.remains {
		out = append(out, n.Peers...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// unawaitedLocked gives those VTEPs of which the epoch does not know that there is
// a host to wait for, nor has one recorded in it what it has.
func (r *Registry) unawaitedLocked() []netip.Addr {
	e := &r.era
	if e.revision == 0 || e.unread != nil || !r.rebuild.hosts {
		return nil
	}
	return slices.DeleteFunc(r.remainingLocked(), func(vtep netip.Addr) bool {
		if vtep == r.self.VTEP || slices.Contains(e.Epoch.VTEPs, vtep) {
			return true
		}
		for _, p := range r.peers.All() {
			if p.VTEP == vtep && (p.Epoch == e.Epoch.ID || !e.Settled) {
				return true
			}
		}
		return false
	})
}

// owesLocked says whether this host has containers that it does not know yet, and
// others wait to hear of them.
func (r *Registry) owesLocked(now time.Time) bool {
	return len(r.rebuild.remains) > 0 && now.Sub(r.era.since) < settleTime
}

// partialLocked says whether the kernel may have something that no record tells of:
// what this host has lost its records of, or another host that has not recorded
// again what it has since the store has lost data.
func (r *Registry) partialLocked() bool {
	e := &r.era
	return r.rebuild.lost || e.suspect != nil || !e.Settled && (e.Epoch.N > 1 || len(e.Epoch.VTEPs) > 0)
}
