package mirror

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// idOption is the option, of the network and of its IPAM, that says which of
// weft's networks a Docker network is.
const idOption = "weft.id"

// dockerNetwork is one network as this host's Docker has it.
type dockerNetwork struct {
	ID         string // Docker's
	Name       string
	Driver     string // see driverName
	IPAM       string // its IPAM driver, see driverName
	Created    time.Time
	Subnets    []netip.Prefix
	Options    map[string]string
	Labels     map[string]string
	Attachable bool
	IPv6       bool
}

// clusterView is what the registry knows.
type clusterView struct {
	Live   []overlay.Network          // sorted by id
	Docker map[string]overlay.Network // by Docker's id: this host's, tombstones too
	Lost   bool                       // records of this host may be lost
}

func viewOf(r Registry) clusterView {
	v := clusterView{Live: r.Networks(), Docker: map[string]overlay.Network{}}
	v.Lost, _ = r.Rebuilding()
	for dockerID, id := range r.DockerIDs() {
		n, _ := r.OfDocker(dockerID)
		n.ID = id
		v.Docker[dockerID] = n
	}
	return v
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
	n, ok := v.live(d.Name)
	return n, ok && n.Name == d.Name && slices.Equal(sorted(d.Subnets), sorted(prefixes(n)))
}

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
