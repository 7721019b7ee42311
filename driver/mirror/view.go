package mirror

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
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

// clusterView is what the registry knows.
type clusterView struct {
	Live   []overlay.Network          // sorted by id
	Gone   []overlay.Network          // tombstones, likewise
	Docker map[string]overlay.Network // by Docker's id: this host's, tombstones too
	Lost   bool                       // records of this host may be lost

	Remains []overlay.Remains          // what the kernel has, if Lost
	Kernel  map[string]overlay.Remains // of Docker's networks, by Docker's id, see identify
	Epoch   time.Time                  // since when the store has its data
	Frozen  bool                       // nothing new is claimed at the moment
}

func viewOf(r Registry) clusterView {
	v := clusterView{Live: r.Networks(), Gone: r.Tombstones(), Docker: map[string]overlay.Network{}}
	v.Lost, _ = r.Rebuilding()
	v.Remains = r.Remains()
	began, settled := r.Epoch()
	v.Epoch, v.Frozen = began, !settled
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
