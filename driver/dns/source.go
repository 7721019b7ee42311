package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// source is what a zone was made from.
type source struct {
	network string
	records []Record
	around  around
	zone    *Zone
}

// views gives each sandbox of this host the zones of its networks. Zones whose
// records have not changed are the ones from before.
func (s *Server) views(snapshot overlay.Snapshot) map[string]View {
	networks := map[string][]string{} // network ids by sandbox
	for _, e := range snapshot.Local {
		if e.Phase == overlay.Joined && e.Sandbox != "" && !slices.Contains(networks[e.Sandbox], e.Network) {
			networks[e.Sandbox] = append(networks[e.Sandbox], e.Network)
		}
	}
	zones := map[string]*source{}
	views := make(map[string]View, len(networks))
	for path, ids := range networks {
		for _, id := range ids {
			if zones[id] == nil {
				zones[id] = s.zones[id].renewed(snapshot, id)
			}
			views[path] = append(views[path], zones[id].zone)
		}
		slices.SortFunc(views[path], func(a, b *Zone) int { return cmp.Compare(a.Network, b.Network) })
	}
	s.zones = zones
	return views
}

// renewed is the source of the network as it is now. The old one may be nil.
func (old *source) renewed(snapshot overlay.Snapshot, id string) *source {
	now := &source{network: snapshot.Networks[id].Name, records: records(snapshot, id), around: surroundings(snapshot, id)}
	same := old != nil && old.network == now.network && slices.EqualFunc(old.records, now.records, Record.equal)
	switch {
	case same && old.around.equal(now.around):
		return old
	case same:
		zone := *old.zone
		now.zone = &zone
	default:
		now.zone = NewZone(now.network, now.records)
		if old != nil {
			now.zone.gone = now.zone.outlived(old.zone, time.Now())
		}
	}
	now.zone.around = now.around
	return now
}

// outlived are the names that the zone does not have, and one before it had.
func (z *Zone) outlived(old *Zone, now time.Time) map[string]time.Time {
	gone := map[string]time.Time{}
	for name, until := range old.gone {
		if z.owners[name] == nil && now.Before(until) {
			gone[name] = until
		}
	}
	for name := range old.owners {
		if z.owners[name] == nil {
			gone[name] = now.Add(latelyFor)
		}
	}
	return gone
}

func (a around) equal(o around) bool {
	return a.whole == o.whole && slices.Equal(a.subnets, o.subnets) && slices.Equal(a.held, o.held) && slices.Equal(a.coming, o.coming)
}

// surroundings are the network's subnets, and the addresses that somebody has.
func surroundings(snapshot overlay.Snapshot, id string) around {
	a := around{whole: !snapshot.Partial}
	for _, s := range snapshot.Networks[id].Subnets {
		a.subnets = append(a.subnets, s.Prefix)
	}
	for _, e := range snapshot.Local {
		if e.Network == id && e.Phase != overlay.Left {
			a.held = append(a.held, e.Addrs...)
		}
		if e.Network == id && e.Arriving {
			a.coming = append(a.coming, e.Addrs...)
		}
	}
	for _, at := range snapshot.Peers[id] {
		for _, e := range at.Endpoints {
			a.held = append(a.held, e.Addrs...)
		}
	}
	slices.SortFunc(a.held, netip.Addr.Compare)
	slices.SortFunc(a.coming, netip.Addr.Compare)
	return a
}

func (r Record) equal(o Record) bool {
	return r.Near == o.Near && slices.Equal(r.Names, o.Names) && slices.Equal(r.Addrs, o.Addrs)
}

// records are the network's endpoints that have names, on all hosts that are
// neither down nor silent, but for those that have not arrived.
func records(snapshot overlay.Snapshot, id string) []Record {
	type keyed struct {
		id string
		Record
	}
	var list []keyed
	for _, e := range snapshot.Local {
		if e.Network == id && e.Phase != overlay.Left && !e.Arriving {
			list = append(list, keyed{e.ID, Record{names(e.Name, e.Names), e.Addrs, true}})
		}
	}
	for _, at := range snapshot.Peers[id] {
		if _, up := snapshot.Hosts[at.Host]; !up || snapshot.Silent[at.Host] {
			continue
		}
		for _, e := range at.Endpoints {
			list = append(list, keyed{e.ID, Record{names(e.Name, e.Names), e.Addrs, false}})
		}
	}
	slices.SortFunc(list, func(a, b keyed) int { return cmp.Compare(a.id, b.id) })
	out := make([]Record, 0, len(list))
	for _, k := range list {
		if len(k.Names) > 0 {
			out = append(out, k.Record)
		}
	}
	return out
}

// names is all names of an endpoint, of which Docker may have told only one.
func names(name string, all []string) []string {
	if len(all) == 0 && name != "" {
		return []string{name}
	}
	return all
}
