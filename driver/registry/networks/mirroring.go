package networks

import (
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
)

// # Which network Docker means
//
// Docker tells a driver a new network's subnets and options, but neither its name nor why
// it is made. weft itself has Docker make the networks of the cluster. Such a network is
// known by its VNI, which stands in the option that Docker's own overlay uses, and by
// being expected: at any other time a person who asks for a subnet or VNI that is taken
// is refused. Compose accepts such a network as its own; it would not if the network had
// an option of weft's.

// BeginMirroring says that this host's Docker is about to be asked for the network.
func (n *Networks) BeginMirroring(id string) { n.mirroring[id]++ }

// EndMirroring says that one such request is over.
func (n *Networks) EndMirroring(id string) {
	if n.mirroring[id]--; n.mirroring[id] == 0 {
		delete(n.mirroring, id)
	}
}

// IsMirrored says whether this host's Docker is being asked for the network.
func (n *Networks) IsMirrored(id string) bool { return n.mirroring[id] > 0 }

// Mirrored finds the live network that Docker is being asked for and that has
// exactly this subnet.
func (n *Networks) Mirrored(p netip.Prefix) (overlay.Network, bool) {
	for id := range n.mirroring {
		if found, ok := n.byID[id]; ok && found.Deleted.IsZero() && HasSubnet(found, p) {
			return found, true
		}
	}
	return overlay.Network{}, false
}

// Recorded finds the cluster's network that Docker's new one would join, if there is one.
// mirrored: this host's Docker asks because weft has it do so, or asks again.
func (n *Networks) Recorded(dockerID string, want overlay.Network) (found overlay.Network, mirrored bool) {
	if found, ok := n.OfDocker(dockerID); ok {
		return found, true
	}
	if found, ok := n.Find(want.ID); ok {
		return found, n.IsMirrored(found.ID)
	}
	for _, s := range want.Subnets {
		if found, ok := n.Mirrored(s.Prefix); ok && want.ID == "" && found.VNI == want.VNI {
			return found, true
		}
	}
	return n.GoneMeanwhile(want)
}

// GoneMeanwhile finds the network that Docker is being asked for, by its id or its
// VNI, and that was removed since: it must not come back as a new one.
func (n *Networks) GoneMeanwhile(want overlay.Network) (overlay.Network, bool) {
	for id := range n.mirroring {
		found, known := n.byID[id]
		same := want.ID == id || want.ID == "" && found.VNI == want.VNI
		if known && !found.Deleted.IsZero() && same && SameSubnets(found, want) == nil {
			return found, true
		}
	}
	return overlay.Network{}, false
}
