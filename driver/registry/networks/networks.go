package networks

import (
	"cmp"
	"errors"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// Errors of what is asked of a network. Each comes wrapped in a sentence.
var (
	ErrTaken    = errors.New("taken")
	ErrMismatch = errors.New("mismatch")
)

// Networks are the networks that this host knows.
type Networks struct {
	byID    map[string]overlay.Network       // tombstones too
	decoded map[string]record.DecodedNetwork // by key, as the store had them last
	absent  map[string]bool                  // of Docker's those that the store has lost
	graves  Graves                           // of the tombstones

	docker    map[string]Attached        // by Docker's network id
	removals  map[string]bool            // asked here; true: the store was asked too, with no answer yet
	halfMade  map[string]overlay.Network // see GiveUp
	mirroring map[string]int             // requests to Docker under way, see BeginMirroring
}

// New is what a host knows that has seen neither state nor store.
func New() *Networks {
	return &Networks{
		byID: map[string]overlay.Network{}, graves: Graves{seen: map[string]grave{}},
		docker: map[string]Attached{}, removals: map[string]bool{}, halfMade: map[string]overlay.Network{}, mirroring: map[string]int{},
	}
}

// Load takes a record of this host's state, and says whether it is about networks.
func (n *Networks) Load(key string, decode func(any) error) (mine bool, err error) {
	switch id, prefix := splitKey(key); prefix {
	case record.StateRan:
		return true, decode(&n.graves.ran)
	case record.StateGrave:
		return true, into(n.graves.seen, id, decode)
	case record.StateRemove:
		n.removals[id] = false
		return true, nil
	case record.StateMaking:
		return true, into(n.halfMade, id, decode)
	case record.StateDocker:
		if err := into(n.docker, id, decode); err != nil {
			return true, err
		}
		at := n.docker[id]
		at.Earlier = true
		n.docker[id] = at
		return true, nil
	case record.StateNetwork:
		return true, into(n.byID, id, decode)
	}
	return false, nil
}

func splitKey(key string) (id, prefix string) {
	for _, prefix := range []string{record.StateGrave, record.StateRemove, record.StateMaking, record.StateDocker, record.StateNetwork} {
		if id, ok := strings.CutPrefix(key, prefix); ok {
			return id, prefix
		}
	}
	return "", key
}

func into[T any](m map[string]T, key string, decode func(any) error) error {
	var v T
	if err := decode(&v); err != nil {
		return err
	}
	m[key] = v
	return nil
}

// Find finds a live network by weft's id or, failing that, by its name.
func (n *Networks) Find(idOrName string) (overlay.Network, bool) {
	if found, ok := n.byID[idOrName]; ok && found.Deleted.IsZero() {
		return found, true
	}
	for _, found := range n.byID {
		if idOrName != "" && found.Name == idOrName && found.Deleted.IsZero() {
			return found, true
		}
	}
	return overlay.Network{}, false
}

// OfSubnet finds the live network that has exactly this subnet.
func (n *Networks) OfSubnet(p netip.Prefix) (overlay.Network, bool) {
	for _, found := range n.byID {
		if found.Deleted.IsZero() && HasSubnet(found, p) {
			return found, true
		}
	}
	return overlay.Network{}, false
}

// Record gives a network's record, or tombstone.
func (n *Networks) Record(id string) (found overlay.Network, known bool) {
	found, known = n.byID[id]
	return found, known
}

// All are the networks' records, tombstones too.
func (n *Networks) All() iter.Seq[overlay.Network] { return maps.Values(n.byID) }

// Where gives the networks that are wanted, tombstones too, sorted by id.
func (n *Networks) Where(wanted func(overlay.Network) bool) []overlay.Network {
	var out []overlay.Network
	for _, found := range n.byID {
		if wanted(found) {
			out = append(out, found)
		}
	}
	slices.SortFunc(out, func(a, b overlay.Network) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Newest is the later one of the record and what is known of that network.
func (n *Networks) Newest(of overlay.Network) overlay.Network {
	if now, known := n.byID[of.ID]; known && !record.Outdated(now, of) {
		return now
	}
	return of
}

// Outdated says whether a later record of that network is known.
func (n *Networks) Outdated(of overlay.Network) bool {
	now, known := n.byID[of.ID]
	return known && record.Outdated(of, now)
}

// Learn takes a network's record over.
func (n *Networks) Learn(of overlay.Network) { n.byID[of.ID] = of }
