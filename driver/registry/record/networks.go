package record

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

// Networks is what the records under net/ say, but for the epoch's.
type Networks struct {
	Networks []overlay.Network
	Passed   []skipped.Record // what cannot be used
	Unread   map[string]bool  // keys of Passed: they are there, and that is all that is known
	Decoded  map[string]DecodedNetwork
}

// DecodedNetwork is a record under net/ and what is in it.
type DecodedNetwork struct {
	value   []byte
	network overlay.Network
}

// ReadNetworks reads the records under net/. Of networks with one subnet the networks
// that are known here go first, then the older ones: a record that somebody has made up
// must not take a network's place. Every change of one record has all of them read, and
// thousands may be tombstones, so what was decoded before, by key, is not decoded again.
func ReadNetworks(pairs []kvstore.Pair, known map[string]overlay.Network, before map[string]DecodedNetwork) Networks {
	out := Networks{Unread: map[string]bool{}, Decoded: make(map[string]DecodedNetwork, len(pairs))}
	pass := func(key string, err error) {
		r, _ := skipped.Of(key, err)
		out.Passed, out.Unread[key] = append(out.Passed, r), true
	}
	for _, p := range pairs {
		if p.Key == EpochKey {
			continue
		}
		d, ok := before[p.Key]
		if !ok || !bytes.Equal(d.value, p.Value) {
			n, err := DecodeNetwork(p)
			if err != nil {
				pass(p.Key, err)
				continue
			}
			d = DecodedNetwork{value: p.Value, network: n}
		}
		out.Decoded[p.Key] = d
		out.Networks = append(out.Networks, d.network)
	}
	if !overlapping(out.Networks) {
		return out
	}
	var taken []overlay.Network
	for _, n := range byRight(out.Networks, known) {
		if by, clash := clashing(n, taken); clash {
			pass(NetworkKey(n.ID), format.Faultf(format.Senseless, "has a subnet (%s) that overlaps that of network %q", Subnets(n), by.Title()))
			continue
		}
		if n.Deleted.IsZero() {
			taken = append(taken, n)
		}
	}
	out.Networks = slices.DeleteFunc(out.Networks, func(n overlay.Network) bool { return out.Unread[NetworkKey(n.ID)] })
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
