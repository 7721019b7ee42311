package registry

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// netRecords is what the records under net/ say, but for the epoch's.
type netRecords struct {
	networks []overlay.Network
	passed   []skipped.Record // what cannot be used
	unread   map[string]bool  // keys of passed: they are there, and that is all that is known
	decoded  map[string]decodedNetwork
}

// decodedNetwork is a record under net/ and what is in it.
type decodedNetwork struct {
	value   []byte
	network overlay.Network
}

// readNetworks reads the records under net/. Of networks with one subnet those that
// are known here go first, then the older: a record that somebody has made up must
// not take a network's place. All are read with every change of one, and thousands may
// be tombstones, so what was decoded before, by key, is not decoded again.
func readNetworks(pairs []kvstore.Pair, known map[string]overlay.Network, before map[string]decodedNetwork) netRecords {
	out := netRecords{unread: map[string]bool{}, decoded: make(map[string]decodedNetwork, len(pairs))}
	pass := func(key string, err error) {
		r, _ := skipped.Of(key, err)
		out.passed, out.unread[key] = append(out.passed, r), true
	}
	for _, p := range pairs {
		if p.Key == netEpoch {
			continue
		}
		d, ok := before[p.Key]
		if !ok || !bytes.Equal(d.value, p.Value) {
			n, err := decodeNetwork(p)
			if err != nil {
				pass(p.Key, err)
				continue
			}
			d = decodedNetwork{value: p.Value, network: n}
		}
		out.decoded[p.Key] = d
		out.networks = append(out.networks, d.network)
	}
	if !overlapping(out.networks) {
		return out
	}
	var taken []overlay.Network
	for _, n := range byRight(out.networks, known) {
		if by, clash := clashing(n, taken); clash {
			pass(networkKey(n.ID), format.Faultf(format.Senseless, "has a subnet (%s) that overlaps that of network %q", subnets(n), by.Title()))
			continue
		}
		if n.Deleted.IsZero() {
			taken = append(taken, n)
		}
	}
	out.networks = slices.DeleteFunc(out.networks, func(n overlay.Network) bool { return out.unread[networkKey(n.ID)] })
	return out
}

// overlapping says whether two live networks overlap. In the order of their first
// addresses a prefix lies in the one before it, or in none.
func overlapping(networks []overlay.Network) bool {
	type owned struct {
		netip.Prefix
		id string
	}
	var all []owned
	for _, n := range networks {
		if n.Deleted.IsZero() {
			for _, s := range n.Subnets {
				all = append(all, owned{s.Prefix, n.ID})
			}
		}
	}
	slices.SortFunc(all, func(a, b owned) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	for i := 1; i < len(all); i++ {
		if all[i-1].Overlaps(all[i].Prefix) {
			return true
		}
	}
	return false
}

// byRight sorts networks by who goes first if two want one subnet.
func byRight(networks []overlay.Network, known map[string]overlay.Network) []overlay.Network {
	rank := func(n overlay.Network) int {
		switch old, has := known[n.ID]; {
		case has && old.Deleted.IsZero():
			return 0
		case !n.Created.IsZero():
			return 1
		}
		return 2
	}
	return slices.SortedFunc(slices.Values(networks), func(a, b overlay.Network) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
}

// clashing gives the network of taken that n overlaps.
func clashing(n overlay.Network, taken []overlay.Network) (overlay.Network, bool) {
	if !n.Deleted.IsZero() {
		return overlay.Network{}, false
	}
	for _, other := range taken {
		for _, s := range n.Subnets {
			if slices.ContainsFunc(other.Subnets, func(o overlay.Subnet) bool { return o.Prefix.Overlaps(s.Prefix) }) {
				return other, true
			}
		}
	}
	return overlay.Network{}, false
}

// passOver notes what a reading passes over, and says it once.
func (r *Registry) passOver(scope string, passed ...skipped.Record) {
	news := r.skipped.Saw(scope, passed...)
	if len(news) > 0 {
		r.log.WithField("first", news[0].Text()).
			Warnf("Records of the store cannot be used and are passed over, everything else goes on: %s; `weft doctor` says what to do.", skipped.Names(news))
	}
}
