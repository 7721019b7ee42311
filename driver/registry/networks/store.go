package networks

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// Seen is what the store's records say that this host did not know.
type Seen struct {
	Changed    bool             // something is different now, and Ops is to become durable
	Ops        []kvstore.Op     // for this host's state
	Tombstones []string         // keys of the tombstones, whose end is no loss
	Unread     map[string]bool  // keys of the records that cannot be used
	Passed     []skipped.Record // why
}

// See takes the store's net/ records over. A record that is absent, or an earlier one than
// is known, changes nothing but what is told as Absent.
func (n *Networks) See(pairs []kvstore.Pair) (Seen, error) {
	read := record.ReadNetworks(pairs, n.byID, n.decoded)
	n.decoded = read.Decoded
	seen := Seen{Unread: read.Unread, Passed: read.Passed}
	changed := map[string]overlay.Network{}
	present, behind := map[string]bool{}, map[string]bool{}
	for key := range read.Unread { // what it says is not known, so what was known stays
		present[strings.TrimPrefix(key, record.NetPrefix)] = true
	}
	for _, of := range read.Networks {
		if !of.Deleted.IsZero() {
			seen.Tombstones = append(seen.Tombstones, record.NetworkKey(of.ID))
		}
		old, known := n.byID[of.ID]
		if known && record.Outdated(of, old) {
			behind[of.ID] = true
			continue
		}
		present[of.ID] = true
		if known && (reflect.DeepEqual(old, of) || equalJSON(old, of)) {
			n.byID[of.ID] = of // the very one, which is compared in no time
			continue
		}
		op, err := record.Put(record.StateNetwork+of.ID, of)
		if err != nil {
			return seen, err
		}
		seen.Ops, changed[of.ID] = append(seen.Ops, op), of
	}
	absent := n.missing(present)
	maps.Copy(absent, behind)
	seen.Changed = len(seen.Ops) > 0 || !maps.Equal(absent, n.absent)
	maps.Copy(n.byID, changed)
	n.absent = absent
	return seen, nil
}

// missing gives the networks that this host's Docker has and the store has lost.
func (n *Networks) missing(present map[string]bool) map[string]bool {
	absent := map[string]bool{}
	for of := range n.Here() {
		if _, known := n.byID[of.ID]; known && of.Deleted.IsZero() && !present[of.ID] {
			absent[of.ID] = true
		}
	}
	return absent
}

// Absent are the networks that the store has lost, or has only as they were before.
func (n *Networks) Absent() []overlay.Network {
	var lost []overlay.Network
	for id := range n.absent {
		lost = append(lost, n.byID[id])
	}
	return lost
}

func equalJSON(a, b overlay.Network) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
