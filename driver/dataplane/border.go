package dataplane

import (
	"fmt"
	"maps"
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
)

// border is what the host's table knows: who may send into which network. It is
// a value; the kernel's is read and written by a guard.
type border struct {
	port uint16
	// link is the interface that has the VTEP: what comes in by it may have any
	// source. Empty: none is known.
	link string
	// shared: another overlay has tunnels on the port, so packets with a VNI
	// that is nobody's here are let through.
	shared bool

	hosts   map[netip.Addr]bool // VTEPs of the cluster's hosts
	vnis    map[uint32]bool     // of the networks that have a tunnel here
	members map[member]bool
}

// member is a host that may send into a network.
type member struct {
	vtep netip.Addr
	vni  uint32
}

// borderOf gives the border that cfg asks for, but for link and shared, which
// the kernel knows.
func borderOf(cfg overlay.Config) *border {
	b := newBorder(cfg.Port)
	for _, vtep := range cfg.Hosts {
		b.hosts[vtep] = true
	}
	for _, n := range cfg.Networks {
		b.vnis[n.VNI] = true
		for _, vtep := range n.Members {
			b.members[member{vtep, n.VNI}] = true
			b.hosts[vtep] = true
		}
	}
	return b
}

func newBorder(port uint16) *border {
	return &border{port: port, hosts: map[netip.Addr]bool{}, vnis: map[uint32]bool{}, members: map[member]bool{}}
}

// add makes b hold what o holds too.
func (b *border) add(o *border) {
	maps.Copy(b.hosts, o.hosts)
	maps.Copy(b.vnis, o.vnis)
	maps.Copy(b.members, o.members)
}

// sameRules says whether both have the same rules, whatever is in their sets.
func (b *border) sameRules(o *border) bool {
	return b.port == o.port && b.link == o.link && b.shared == o.shared
}

// differs says how what the kernel has, nil if it is not as weft makes it,
// differs from b, which weft had left.
func (b *border) differs(have *border) []string {
	if have == nil {
		return []string{"nftables table inet " + guardTable + " was missing or changed"}
	}
	return b.drift(have)
}

// drift says how have differs from b, which weft had left.
func (b *border) drift(have *border) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	onlyIn(b.vnis, have.vnis, func(v uint32) { say("VNI %d was missing in nftables set %s", v, setVNIs) })
	onlyIn(have.vnis, b.vnis, func(v uint32) { say("VNI %d in nftables set %s was not weft's", v, setVNIs) })
	onlyIn(b.members, have.members, func(m member) { say("member %s of VNI %d was missing in nftables", m.vtep, m.vni) })
	onlyIn(have.members, b.members, func(m member) { say("member %s of VNI %d in nftables was not weft's", m.vtep, m.vni) })
	onlyIn(b.hosts, have.hosts, func(a netip.Addr) { say("host %s was missing in nftables", a) })
	onlyIn(have.hosts, b.hosts, func(a netip.Addr) { say("host %s in nftables was not weft's", a) })
	return out
}

// onlyIn calls f with what a has and b does not have.
func onlyIn[K comparable](a, b map[K]bool, f func(K)) {
	for k := range a {
		if !b[k] {
			f(k)
		}
	}
}
