// Package match finds out which of Docker's networks is which of the cluster's. It
// is pure.
package match

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// View is what the registry knows, at one moment.
//
// It is read before Docker's list. A network that is removed between the two looks
// like one that Docker has lost, and one that is created in between is unknown:
// neither is acted on before the next look. In the other order, a network that is
// created in between would look like one that Docker lacks.
type View struct {
	registry.Inventory
	Kernel map[string]overlay.Remains // of Docker's networks, by Docker's id, see Identify
}

// Same says whether a pass over both would want the same. Tombstones come with
// changes of live networks, and there may be thousands, so they are only counted.
func (v View) Same(o View) bool {
	gone := len(v.Gone) == len(o.Gone)
	v.Gone, o.Gone = nil, nil
	return gone && reflect.DeepEqual(v, o)
}

// Named finds a live network by id or, failing that, by name.
func (v View) Named(idOrName string) (overlay.Network, bool) {
	for _, n := range v.Live {
		if n.ID == idOrName {
			return n, true
		}
	}
	for _, n := range v.Live {
		if n.Name == idOrName && n.Name != "" {
			return n, true
		}
	}
	return overlay.Network{}, false
}

// Find finds the network that d must be, if this host's state has lost it.
func (v View) Find(d engine.Network) (overlay.Network, bool) {
	if id := d.Options[option.ID]; id != "" {
		return v.Named(id)
	}
	want := sorted(Prefixes(d))
	if k, ok := v.Kernel[d.ID]; ok {
		if n, ok := v.Named(k.ID); ok && slices.Equal(want, sorted(n.Prefixes())) {
			return n, true
		}
	}
	n, ok := v.Named(d.Name)
	return n, ok && n.Name == d.Name && slices.Equal(want, sorted(n.Prefixes()))
}

// Removed finds the tombstone of the network that d must have been: this host has
// lost its record, and the network was removed elsewhere before the host had the
// record again.
func (v View) Removed(d engine.Network) (overlay.Network, bool) {
	id, want := d.Options[option.ID], sorted(Prefixes(d))
	i := slices.IndexFunc(v.Gone, func(n overlay.Network) bool {
		same := id != "" && n.ID == id || n.Name == d.Name && slices.Equal(want, sorted(n.Prefixes()))
		return same && d.Created.Before(n.Deleted)
	})
	if i < 0 {
		return overlay.Network{}, false
	}
	return v.Gone[i], true
}

// Prefixes are the prefixes of the subnets that Docker shows of the network.
func Prefixes(d engine.Network) []netip.Prefix {
	return overlay.Network{Subnets: d.Subnets}.Prefixes()
}

func sorted(in []netip.Prefix) []netip.Prefix {
	return slices.SortedFunc(slices.Values(in), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
}
