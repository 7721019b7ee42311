package networks

import (
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// Keyless gives the ids of the live networks for which the store has no key of the name or
// of the VNI, sorted. stored has what the store has there: a network's id by key. A key of
// a network that is no more is none; one of another live network is not taken from that.
func (n *Networks) Keyless(stored map[string]string) []string {
	has := func(key string) bool {
		id, there := stored[key]
		holder, known := n.byID[id]
		return there && (!known || holder.Deleted.IsZero())
	}
	var out []string
	for _, of := range n.Where(func(of overlay.Network) bool { return of.Deleted.IsZero() }) {
		if !has(record.VNIKey(of.VNI)) || of.Name != "" && !has(record.NameKey(of.Name)) {
			out = append(out, of.ID)
		}
	}
	return out
}
