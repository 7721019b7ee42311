package networks

import (
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// Attached says which network a network of this host's Docker is.
type Attached struct {
	Network string    `json:"network"`
	At      time.Time `json:"at"`

	Earlier bool `json:"-"` // as an earlier process has recorded it
}

// Docker are the networks of this host's Docker, by Docker's id.
func (n *Networks) Docker() iter.Seq2[string, Attached] { return maps.All(n.docker) }

// OfDocker finds the network that Docker knows here by its own id. It may be one whose
// tombstone has come already.
func (n *Networks) OfDocker(dockerID string) (overlay.Network, bool) {
	found, ok := n.byID[n.docker[dockerID].Network]
	return found, ok
}

// Here are the networks that this host's Docker has. One that is unknown has its id alone.
func (n *Networks) Here() iter.Seq[overlay.Network] {
	return func(yield func(overlay.Network) bool) {
		for _, at := range n.docker {
			found := n.byID[at.Network]
			found.ID = at.Network
			if !yield(found) {
				return
			}
		}
	}
}

// IsHere says whether this host's Docker has the network.
func (n *Networks) IsHere(network string) bool {
	for _, at := range n.docker {
		if at.Network == network {
			return true
		}
	}
	return false
}

// MayAttach says why Docker's network cannot be that network; nil: it can.
func (n *Networks) MayAttach(dockerID string, to overlay.Network) error {
	beingRemoved, asked := n.removals[to.ID]
	switch {
	case !to.Deleted.IsZero(), asked && n.IsMirrored(to.ID): // only a person may change his mind
		return GoneError(to)
	case beingRemoved:
		return fmt.Errorf("network %q is being removed from the cluster: try again in a moment", to.Title())
	}
	for id, at := range n.docker {
		if (at.Network == to.ID) != (id == dockerID) {
			return fmt.Errorf("network %q is %w on this host by Docker's network %.12s: remove that one first", to.Title(), ErrTaken, id)
		}
	}
	return nil
}

// GoneError is the sentence for a network that is no more.
func GoneError(n overlay.Network) error {
	return fmt.Errorf("network %q was removed from the cluster while this host's Docker was asked for it: there is nothing to do", n.Title())
}

// Attach maps Docker's network to that network. A removal that was asked here is cancelled.
func (n *Networks) Attach(dockerID string, to overlay.Network, at time.Time) {
	n.docker[dockerID], n.byID[to.ID] = Attached{Network: to.ID, At: at}, to
	delete(n.removals, to.ID)
	delete(n.halfMade, to.ID)
}

// Detaching says which network Docker's one is and, if Docker does not have it any more,
// whether it is to be removed from the cluster: everywhere says that a person wants that.
// A network without a name goes all the same. It is mirrored nowhere, so nobody would miss
// it, nor remove it.
func (n *Networks) Detaching(dockerID string, everywhere bool) (network string, removal, known bool) {
	at, known := n.docker[dockerID]
	if !known {
		return "", false, false
	}
	found, recorded := n.byID[at.Network]
	return at.Network, (everywhere || found.Name == "") && recorded && found.Deleted.IsZero(), true
}

// Detach forgets a network of Docker's. With removal it is to be removed from the cluster.
func (n *Networks) Detach(dockerID string, removal bool) {
	network := n.docker[dockerID].Network
	delete(n.docker, dockerID)
	if removal {
		n.removals[network] = false
	}
}
