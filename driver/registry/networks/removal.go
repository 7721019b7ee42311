package networks

import (
	"maps"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// Removals are the networks whose removal was asked here and is not settled, sorted.
func (n *Networks) Removals() []string { return slices.Sorted(maps.Keys(n.removals)) }

// IsRemoval says whether the network is among them.
func (n *Networks) IsRemoval(id string) bool {
	_, asked := n.removals[id]
	return asked
}

// BeginRemoval says whether the removal is still wanted. If so nothing cancels it from now
// on until its end: the store is asked for it.
func (n *Networks) BeginRemoval(id string) bool {
	if !n.IsRemoval(id) {
		return false
	}
	n.removals[id] = true
	return true
}

// EndRemoval says that the store has refused it: it may be cancelled again.
func (n *Networks) EndRemoval(id string) {
	if n.IsRemoval(id) {
		n.removals[id] = false
	}
}

// DropRemoval says that the removal is settled, whatever has come of it.
func (n *Networks) DropRemoval(id string) { delete(n.removals, id) }

// GiveUp notes a network that Docker does not have. It was published, or may have been, or
// the write may come late: the store has to be asked until that is settled.
func (n *Networks) GiveUp(made overlay.Network) { n.halfMade[made.ID] = made }

// HalfMade are those that were given up and are not settled, by id.
func (n *Networks) HalfMade() map[string]overlay.Network { return maps.Clone(n.halfMade) }

// DropHalfMade says that it is settled.
func (n *Networks) DropHalfMade(id string) { delete(n.halfMade, id) }
