package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/registry/endpoints"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// # A machine that shuts down, and a weft that ends
//
// A machine that shuts down says so, by push and in its record in the store, and
// its peers withdraw its names and stop sending at once. weft knows it from
// `weft leave --away`, which weft.service calls when systemd stops the machine;
// a managed plugin or a container sees only its own end. All that the host has stays
// its own, for as long as what any host has that is down; and its lease is free, so
// that the host has it back as soon as it is up again.
//
// A weft that ends alone, because it is stopped or removed, leaves containers
// behind that run on. It says that it rests, and its peers go on sending to them,
// and leave their addresses alone, until it is back or a person has it forgotten.
// Its names are withdrawn once its lease has been free for peers.DownAfter: nobody says
// any more which of its names are still true.
//
// The next process takes either word back: in the record with its first write,
// by push with its first beat.

// awayTime is how long saying so may take. The machine does not wait for ever.
const awayTime = 3 * time.Second

// Departure is how this host goes: for a while, or for good.
type Departure struct {
	*core
	endpoints *endpoints.Endpoints
	contact   *contact
	rebuild   *rebuild
	direct    *Direct
}

// GoAway makes this host's last beat say that its machine shuts down. Depart
// says it to the store.
func (d *Departure) GoAway() { d.direct.away.Store(true) }

// Depart tells the store that this host's machine shuts down. Call it after Run
// has ended; a new Run takes it back.
func (d *Departure) Depart(ctx context.Context) error {
	known, err := d.lastWord(ctx, func(doc *record.HostDoc) { doc.Away = true })
	if err != nil {
		return fmt.Errorf("tell the store that this host goes down: %w", err)
	}
	if known {
		d.log.WithField("host", d.Self().Name).Info("The other hosts know that this one goes down. It keeps its addresses.")
	}
	return nil
}

// Rest tells the store that weft ends on this host and containers run on, if any
// do. Call it after Run has ended; a new Run takes it back. A store that did not
// answer is not asked.
func (d *Departure) Rest(ctx context.Context) error {
	d.mu.RLock()
	silent := d.contact.last.Err != nil || !d.endpoints.Joined()
	d.mu.RUnlock()
	if silent {
		return nil
	}
	if _, err := d.lastWord(ctx, func(doc *record.HostDoc) { doc.Rests = true }); err != nil {
		return fmt.Errorf("tell the store that containers run on without weft: %w", err)
	}
	return nil
}

// lastWord changes this host's record, and says whether there is one. A write
// that Run has broken off may still be carried out meanwhile.
func (d *Departure) lastWord(ctx context.Context, change func(*record.HostDoc)) (known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, awayTime)
	defer cancel()
	for {
		if known, err = d.amend(ctx, change); !errors.Is(err, kvstore.ErrConflict) {
			return known, err
		}
	}
}

func (d *Departure) amend(ctx context.Context, change func(*record.HostDoc)) (known bool, err error) {
	pair, err := d.cluster.Get(ctx, record.HostKey(d.Self().Name))
	if errors.Is(err, kvstore.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	doc, err := format.Decode[record.HostDoc](pair.Value)
	if err != nil {
		return false, fmt.Errorf("this host's record %s %w", pair.Key, err)
	}
	change(&doc)
	op, err := record.Put(pair.Key, doc)
	if err != nil {
		return false, err
	}
	op.Kind, op.Revision = kvstore.CAS, pair.Revision
	_, err = d.cluster.Txn(ctx, op)
	return true, err
}
