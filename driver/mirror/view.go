package mirror

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// Options that say which of weft's networks a Docker network is: idOption, of
// the network and of its IPAM, where a person has chosen the id; elsewhere the
// VNI, where Docker's own overlay has it. See registry.Mirroring.
const (
	idOption  = "weft.id"
	vniOption = "com.docker.network.driver.overlay.vxlanid_list"
)

// dockerNetwork is one network as this host's Docker has it.
type dockerNetwork struct {
	ID         string // Docker's
	Name       string
	Driver     string // see driverName
	IPAM       string // its IPAM driver, see driverName
	Created    time.Time
	Subnets    []overlay.Subnet // IPv4 before IPv6
	Options    map[string]string
	Labels     map[string]string
	Attachable bool
	IPv6       bool
	Internal   bool
	Swarm      bool // of Swarm's scope: Swarm makes and removes it
}

// clusterView is what the registry knows, at one moment.
//
// It is read before Docker's list. A network that is removed between the two is one
// that Docker has lost, and one that is created is unknown: neither is acted on
// before the next look. The other way round, a network that has been created since
// the list would be one that Docker lacks.
type clusterView struct {
	registry.Inventory
	Kernel map[string]overlay.Remains // of Docker's networks, by Docker's id, see identify
}

func viewOf(r Registry) clusterView { return clusterView{Inventory: r.Inventory()} }

// same says whether a pass over both would want the same. Tombstones come with
// changes of live networks, and there may be thousands, so they are counted.
func (v clusterView) same(o clusterView) bool {
	gone := len(v.Gone) == len(o.Gone)
	v.Gone, o.Gone = nil, nil
	return gone && reflect.DeepEqual(v, o)
}

// live finds a live network by id or, failing that, by name.
func (v clusterView) live(idOrName string) (overlay.Network, bool) {
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

// match finds the network that d must be, if this host's state has lost it.
func (v clusterView) match(d dockerNetwork) (overlay.Network, bool) {
	if id := d.Options[idOption]; id != "" {
		return v.live(id)
	}
	want := sorted(subnetsOf(d))
	if k, ok := v.Kernel[d.ID]; ok {
		if n, ok := v.live(k.ID); ok && slices.Equal(want, sorted(prefixes(n))) {
			return n, true
		}
	}
	n, ok := v.live(d.Name)
	return n, ok && n.Name == d.Name && slices.Equal(want, sorted(prefixes(n)))
}

// removed finds the tombstone of the network that d must have been, if this host
// has lost its record and has not got it again before it was removed elsewhere.
func (v clusterView) removed(d dockerNetwork) (overlay.Network, bool) {
	id, want := d.Options[idOption], sorted(subnetsOf(d))
	i := slices.IndexFunc(v.Gone, func(n overlay.Network) bool {
		same := id != "" && n.ID == id || n.Name == d.Name && slices.Equal(want, sorted(prefixes(n)))
		return same && d.Created.Before(n.Deleted)
	})
	if i < 0 {
		return overlay.Network{}, false
	}
	return v.Gone[i], true
}

// subnetsOf are the network's subnets alone.
func subnetsOf(d dockerNetwork) []netip.Prefix { return prefixes(overlay.Network{Subnets: d.Subnets}) }

func prefixes(n overlay.Network) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(n.Subnets))
	for _, s := range n.Subnets {
		out = append(out, s.Prefix)
	}
	return out
}

func sorted(in []netip.Prefix) []netip.Prefix {
	return slices.SortedFunc(slices.Values(in), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
}

// driverName is the form in which drivers' names are compared: Docker takes a
// managed plugin's name with and without its tag.
func driverName(name string) string { return strings.TrimSuffix(name, ":latest") }
