package record

import (
	"net/netip"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/overlay"
)

// HostDoc is what a host says of itself, under host/<host>/doc.
type HostDoc struct {
	overlay.Host
	Digests map[string]string `json:"digests"`           // of its attachments, by network id
	Left    bool              `json:"left,omitempty"`    // it has left the cluster for good
	Away    bool              `json:"away,omitempty"`    // its machine has shut down
	Rests   bool              `json:"rests,omitempty"`   // its weft has ended, and containers run on there
	Seq     uint64            `json:"seq,omitempty"`     // the highest number of its attachments when it wrote this
	Runs    uint64            `json:"runs,omitempty"`    // processes of the host so far
	State   uint64            `json:"state,omitempty"`   // the revision of its state when it wrote this
	Epoch   string            `json:"epoch,omitempty"`   // id of the store's epoch in which it has recorded again what it has
	Settled bool              `json:"settled,omitempty"` // it claims new things in that epoch
}

// checkHost says which value of the host's record cannot be.
func checkHost(name string, doc HostDoc) error {
	switch {
	case doc.Name != name:
		return format.Faultf(format.Senseless, "has the name %.60q", doc.Name)
	case doc.Left:
		return nil
	case doc.Incarnation == "":
		return format.Faultf(format.Senseless, "has no incarnation")
	case doc.VTEP.IsValid() && !reachable(doc.VTEP):
		return format.Faultf(format.Senseless, "has the underlay address %v, at which no host can be reached", doc.VTEP)
	case doc.Push.IsValid() && !reachable(doc.Push.Addr()) && !doc.Push.Addr().IsLoopback():
		return format.Faultf(format.Senseless, "has the push address %v, at which no host can be reached", doc.Push)
	case doc.MTU != 0 && (doc.MTU < leastMTU || doc.MTU > mostMTU):
		return format.Faultf(format.Senseless, "has an MTU of %d bytes", doc.MTU)
	}
	for network := range doc.Digests {
		if !overlay.ValidID(network) {
			return format.Faultf(format.Senseless, "names the network %.60q, which cannot be", network)
		}
	}
	return nil
}

// OwnerRecord is the value under OwnerKey.
type OwnerRecord struct {
	identity.Owner
	Former []string `json:"former,omitempty"` // a state of one of these comes from a disk that was set back
}

// checkOwner says with a format.Fault why the record says of nobody that he has the
// host's place. A host that runs writes its own anew, see place.go.
func checkOwner(value []byte) error {
	owner, err := format.Decode[OwnerRecord](value)
	if err == nil && owner.Owner == (identity.Owner{}) {
		return format.Faultf(format.Senseless, "names no owner")
	}
	return err
}

// reachable says whether another host may have the address.
func reachable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.Is4In6() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
