package dataplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// border is what the host's table knows: who may send into which network. It is
// a value; a borderKeeper brings it into the kernel.
type border struct {
	port uint16
	// link is the interface that has the VTEP: what comes in by it may have any
	// source. Empty: none is known.
	link string
	// shared: another overlay has tunnels on the port, so packets with a VNI
	// that is nobody's here are let through.
	shared bool

	hosts []netip.Addr    // VTEPs of the cluster's hosts; sorted
	vnis  map[uint32]bool // of the networks that have a tunnel here
	// members are the VTEPs that may send into a network, by its VNI; sorted.
	members map[uint32][]netip.Addr
}

// borderOf gives the border that cfg asks for, but for link and shared, which
// the kernel knows.
func borderOf(cfg overlay.Config) *border {
	b := newBorder(cfg.Port)
	b.hosts = cfg.Hosts
	for _, n := range cfg.Networks {
		b.vnis[n.VNI] = true
		b.members[n.VNI] = union(b.members[n.VNI], n.Members)
		b.hosts = union(b.hosts, n.Members)
	}
	return b
}

func newBorder(port uint16) *border {
	return &border{port: port, vnis: map[uint32]bool{}, members: map[uint32][]netip.Addr{}}
}

// add makes b hold what o holds too.
func (b *border) add(o *border) {
	b.hosts = union(b.hosts, o.hosts)
	maps.Copy(b.vnis, o.vnis)
	for vni, vteps := range o.members {
		b.members[vni] = union(b.members[vni], vteps)
	}
}

// sameRules says whether both have the same rules, whatever is in their sets.
func (b *border) sameRules(o *border) bool {
	return b.port == o.port && b.link == o.link && b.shared == o.shared
}

// without gives what is in b's sets and not in o's.
func (b *border) without(o *border) *border {
	out := newBorder(b.port)
	out.hosts = missing(b.hosts, o.hosts)
	for vni := range b.vnis {
		if !o.vnis[vni] {
			out.vnis[vni] = true
		}
	}
	for vni, vteps := range b.members {
		if left := missing(vteps, o.members[vni]); len(left) > 0 {
			out.members[vni] = left
		}
	}
	return out
}

// differs says how have, the kernel's border, differs from b, which weft left there.
// A have of nil is not as weft makes it.
func (b *border) differs(have *border) []string {
	if have == nil {
		return []string{"nftables table inet " + ownTable + " was missing or changed"}
	}
	return slices.Concat(b.without(have).tell("was missing in nftables"), have.without(b).tell("in nftables was not weft's"))
}

// tell names all that is in b's sets.
func (b *border) tell(what string) []string {
	var out []string
	for vni := range b.vnis {
		out = append(out, fmt.Sprintf("VNI %d %s", vni, what))
	}
	for vni, vteps := range b.members {
		for _, a := range vteps {
			out = append(out, fmt.Sprintf("member %s of VNI %d %s", a, vni, what))
		}
	}
	for _, a := range b.hosts {
		out = append(out, fmt.Sprintf("host %s %s", a, what))
	}
	return out
}

// union gives all of two sorted lists, sorted and once each.
func union(a, b []netip.Addr) []netip.Addr {
	switch {
	case len(b) == 0 || slices.Equal(a, b):
		return a
	case len(a) == 0:
		return b
	}
	return inOrder(slices.Concat(a, b))
}

// inOrder sorts the list and leaves out what is in it again.
func inOrder(list []netip.Addr) []netip.Addr {
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// missing gives the part of a sorted list that is not in another one.
func missing(a, b []netip.Addr) []netip.Addr {
	if slices.Equal(a, b) {
		return nil
	}
	var out []netip.Addr
	for _, x := range a {
		for len(b) > 0 && b[0].Less(x) {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != x {
			out = append(out, x)
		}
	}
	return out
}
