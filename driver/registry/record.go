package registry

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// Bounds of values in records.
const (
	leastPrefix  = 8       // bits, as for a new pool
	leastOverlay = 1280    // bytes, as for a new network (RFC 8200 section 5)
	leastMTU     = 576     // bytes, of an underlay (RFC 791 section 3.1)
	mostMTU      = 1 << 16 // bytes, that of the loopback interface
)

// decodeNetwork decodes one of the store's net/ records, or says with a format.Fault
// why it cannot be used.
func decodeNetwork(p kvstore.Pair) (overlay.Network, error) {
	id := strings.TrimPrefix(p.Key, netPrefix)
	if !overlay.ValidID(id) {
		return overlay.Network{}, format.Faultf(format.Unknown, "stands under a key that weft does not know")
	}
	n, err := format.Decode[overlay.Network](p.Value)
	if err == nil {
		err = checkNetwork(id, n)
	}
	if err != nil {
		return overlay.Network{}, err
	}
	return n, nil
}

// checkNetwork says which value of a network's record cannot be. Of a tombstone only
// the id matters.
func checkNetwork(id string, n overlay.Network) error {
	switch {
	case n.ID != id:
		return format.Faultf(format.Senseless, "has the id %q", n.ID)
	case !n.Deleted.IsZero():
		return nil
	case id == overlay.ProbeNetwork:
		return format.Faultf(format.Senseless, "has an id that is weft's own")
	case n.VNI == 0 || n.VNI > lastVNI:
		return format.Faultf(format.Senseless, "has VNI %d, and VNIs go from 1 to %d", n.VNI, lastVNI)
	case n.MTU != 0 && (n.MTU < leastOverlay || n.MTU > mostMTU):
		return format.Faultf(format.Senseless, "has an MTU of %d bytes", n.MTU)
	case n.Name != "" && kvstore.CheckKey(nameKey(n.Name)) != nil:
		return format.Faultf(format.Senseless, "has the name %.60q, which no network can have", n.Name)
	case len(n.Subnets) == 0:
		return format.Faultf(format.Senseless, "has no subnet")
	}
	for _, s := range n.Subnets {
		if err := checkSubnet(s); err != nil {
			return err
		}
	}
	return nil
}

func checkSubnet(s overlay.Subnet) error {
	p := s.Prefix
	switch {
	case !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Bits() < leastPrefix || p.Addr().IsMulticast() || p.Addr().IsLoopback():
		return format.Faultf(format.Senseless, "has the subnet %v, which no network can have", p)
	case s.Gateway.IsValid() && !p.Contains(s.Gateway):
		return format.Faultf(format.Senseless, "has the gateway %v, which is not in its subnet %v", s.Gateway, p)
	case s.Range.IsValid() && (s.Range.Bits() < p.Bits() || !p.Contains(s.Range.Addr())):
		return format.Faultf(format.Senseless, "has the range %v, which is not in its subnet %v", s.Range, p)
	}
	for _, aux := range s.Aux {
		if !p.Contains(aux) {
			return format.Faultf(format.Senseless, "has the aux address %v, which is not in its subnet %v", aux, p)
		}
	}
	return nil
}

// networkOp writes a network's record over revision. It refuses with a format.Fault
// what this weft may not write, or no store takes.
func networkOp(n overlay.Network, revision uint64) (kvstore.Op, error) {
	key := networkKey(n.ID)
	if err := format.Writable(n.Rest); err != nil {
		return kvstore.Op{}, fmt.Errorf("its record %s %w", key, err)
	}
	op, err := setOp(key, n)
	if err == nil && len(op.Value) > format.MaxBytes {
		err = fmt.Errorf("its record %w: give it shorter options and labels", format.Faultf(format.Large, "has %d bytes, and at most %d are possible", len(op.Value), format.MaxBytes))
	}
	op.Kind, op.Revision = kvstore.CAS, revision
	return op, err
}

// checkHost says which value of the host's record cannot be.
func checkHost(name string, doc peer) error {
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

// checkOwner says with a format.Fault why the record says of nobody that he has the
// host's place. A host that runs writes its own anew, see place.go.
func checkOwner(value []byte) error {
	record, err := format.Decode[ownerRecord](value)
	if err == nil && record.Owner == (identity.Owner{}) {
		return format.Faultf(format.Senseless, "names no owner")
	}
	return err
}

// reachable says whether another host may have the address.
func reachable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.Is4In6() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// decodeAttachment decodes what the host has in the network, or says with a
// format.Fault why it cannot be used.
func decodeAttachment(host, network string, value []byte) (overlay.Attachment, error) {
	at, err := format.Decode[overlay.Attachment](value)
	if err == nil {
		err = checkAttachment(host, network, at)
	}
	if err != nil {
		return overlay.Attachment{}, err
	}
	return at, nil
}

// checkAttachment says which value of an attachment cannot be.
func checkAttachment(host, network string, at overlay.Attachment) error {
	if at.Host != host || at.Network != network || !overlay.ValidID(network) {
		return format.Faultf(format.Senseless, "is of host %.60q and network %.60q", at.Host, at.Network)
	}
	if at.Reader > format.Current {
		return format.Faultf(format.Newer, "is for a weft of format %d or later, and this one has format %d: update weft on this host", at.Reader, format.Current)
	}
	for _, a := range at.Stock {
		if !reachable(a) || !a.IsValid() {
			return format.Faultf(format.Senseless, "has the address %v in stock", a)
		}
	}
	for _, e := range at.Endpoints {
		if e.ID == "" || e.MAC == (overlay.MAC{}) {
			return format.Faultf(format.Senseless, "has endpoint %.12q with MAC address %v", e.ID, e.MAC)
		}
		for _, a := range e.Addrs {
			if !reachable(a) || !a.IsValid() {
				return format.Faultf(format.Senseless, "has the address %v for endpoint %.12s", a, e.ID)
			}
		}
	}
	return nil
}
