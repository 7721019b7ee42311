package record

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// VNIs that are given out by themselves begin above those that Docker's Swarm
// uses (from 4096 up), since both may share a host's UDP port. The very last are
// overlay.TrialVNI and overlay.ProbeVNI.
const (
	FirstVNI = 1 << 16
	LastVNI  = overlay.TrialVNI - 1
)

// Bounds of values in records.
const (
	leastPrefix  = 8       // bits, as for a new pool
	leastOverlay = 1280    // bytes, as for a new network (RFC 8200 section 5)
	leastMTU     = 576     // bytes, of an underlay (RFC 791 section 3.1)
	mostMTU      = 1 << 16 // bytes, that of the loopback interface
)

// DecodeNetwork decodes one of the store's net/ records, or says with a format.Fault
// why it cannot be used.
func DecodeNetwork(p kvstore.Pair) (overlay.Network, error) {
	id := strings.TrimPrefix(p.Key, NetPrefix)
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
	case n.VNI == 0 || n.VNI > LastVNI:
		return format.Faultf(format.Senseless, "has VNI %d, and VNIs go from 1 to %d", n.VNI, LastVNI)
	case n.MTU != 0 && (n.MTU < leastOverlay || n.MTU > mostMTU):
		return format.Faultf(format.Senseless, "has an MTU of %d bytes", n.MTU)
	case n.Name != "" && kvstore.CheckKey(NameKey(n.Name)) != nil:
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

// WriteNetwork gives the operation that writes a network's record over revision. It
// refuses with a format.Fault what this weft may not write, or no store takes.
func WriteNetwork(n overlay.Network, revision uint64) (kvstore.Op, error) {
	key := NetworkKey(n.ID)
	if err := format.Writable(n.Rest); err != nil {
		return kvstore.Op{}, fmt.Errorf("its record %s %w", key, err)
	}
	op, err := Put(key, n)
	if err == nil && len(op.Value) > format.MaxBytes {
		err = fmt.Errorf("its record %w: give it shorter options and labels", format.Faultf(format.Large, "has %d bytes, and at most %d are possible", len(op.Value), format.MaxBytes))
	}
	op.Kind, op.Revision = kvstore.CAS, revision
	return op, err
}

// Outdated says whether a network's record is of before another one: a store
// that was restored from a snapshot has it.
func Outdated(n, than overlay.Network) bool {
	if n.Rebuilt != than.Rebuilt {
		return n.Rebuilt // somebody has had the first one all the time
	}
	return n.Created.Before(than.Created) || n.Created.Equal(than.Created) && n.Version < than.Version
}

// Subnets are the network's subnets, as a sentence has them.
func Subnets(n overlay.Network) string {
	var out []string
	for _, s := range n.Subnets {
		out = append(out, s.Prefix.String())
	}
	return strings.Join(out, ", ")
}

// Prefixes are the network's subnets.
func Prefixes(n overlay.Network) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(n.Subnets))
	for _, s := range n.Subnets {
		out = append(out, s.Prefix)
	}
	return out
}
