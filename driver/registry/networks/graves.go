package networks

import (
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// A tombstone is kept for so long that every host that still had the network when it was
// removed has learned of the removal: a host that is away for longer may bring the network
// back. If tombstones had no end, the records that each host reads with every change of a
// network would grow for ever.
//
// Each host finds out by itself how old a tombstone is: it counts for how long weft has
// run here since it first saw the tombstone as it is. So a clock that is set wrong has no
// say, neither the remover's nor this host's own.
const tombstoneTime = 30 * 24 * time.Hour

// Graves are how old tombstones are here. They are durable.
type Graves struct {
	ran  time.Duration    // for how long weft has run on this state, as of the last look
	seen map[string]grave // by network id
}

// grave is a tombstone as it was seen at a look.
type grave struct {
	Since   time.Duration `json:"since"` // as Graves.ran
	Created time.Time     `json:"created"`
	Version uint64        `json:"version"`
}

func (g grave) is(n overlay.Network) bool {
	return g.Version == n.Version && g.Created.Equal(n.Created)
}

// Count adds what has passed to the age of each tombstone. Once ops are durable, Counted
// takes what comes of it.
func (n *Networks) Count(passed time.Duration) (now Graves, ops []kvstore.Op, err error) {
	n.graves.ran += passed
	now = Graves{ran: n.graves.ran, seen: map[string]grave{}}
	for id, of := range n.byID {
		if of.Deleted.IsZero() {
			continue
		}
		g, known := n.graves.seen[id]
		if !known || !g.is(of) {
			g = grave{Since: now.ran, Created: of.Created, Version: of.Version}
			op, err := record.Put(record.StateGrave+id, g)
			if err != nil {
				return now, nil, err
			}
			ops = append(ops, op)
		}
		now.seen[id] = g
	}
	for id := range n.graves.seen {
		if _, still := now.seen[id]; !still {
			ops = append(ops, record.Delete(record.StateGrave+id))
		}
	}
	if len(now.seen) == 0 && len(ops) == 0 {
		return now, nil, nil
	}
	ran, err := record.Put(record.StateRan, now.ran)
	return now, append(ops, ran), err
}

// Counted goes by the ages that Count gave.
func (n *Networks) Counted(now Graves) { n.graves.seen = now.seen }

// IsOld says whether that is a tombstone that may go, of a network of which this host's
// Docker has nothing left.
func (n *Networks) IsOld(of overlay.Network) bool {
	g, known := n.graves.seen[of.ID]
	return known && g.is(of) && n.graves.ran-g.Since > tombstoneTime && !of.Deleted.IsZero() && format.Writable(of.Rest) == nil &&
		!n.IsHere(of.ID) && !n.IsRemoval(of.ID)
}

// Bury forgets a tombstone.
func (n *Networks) Bury(id string) {
	delete(n.byID, id)
	delete(n.graves.seen, id)
}
