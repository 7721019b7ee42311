package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/kvstore"
)

// stateUnderlay is the key of this host's state that has the underlay as it was found
// last.
const stateUnderlay = "underlay"

// lastUnderlay is its value.
type lastUnderlay struct {
	Advertise string     `json:"advertise"` // what was looked for: --advertise
	Addr      netip.Addr `json:"addr"`
	MTU       int        `json:"mtu"`
}

// underlay finds the address and MTU by which other hosts reach this one.
func (d *daemon) underlay(ctx context.Context) (dataplane.Underlay, error) {
	var peers []netip.Addr
	if d.registry != nil { // at the start nobody is known yet
		peers = d.registry.VTEPs()
	}
	u, err := d.kernel.Underlay(ctx, d.cfg.Advertise, d.cfg.via(), peers)
	if err != nil {
		return u, err
	}
	if d.cfg.MTU != 0 {
		u.MTU = d.cfg.MTU
	}
	return u, nil
}

// recordUnderlay records the underlay in this host's state. Call it when this process
// can no more be refused because its state or its place is another machine's.
func (d *daemon) recordUnderlay(ctx context.Context, u dataplane.Underlay) {
	now := lastUnderlay{d.cfg.Advertise, u.Addr, u.MTU}
	if was, _ := d.recordedUnderlay(ctx); was == now {
		return
	}
	b, err := json.Marshal(now)
	if err == nil {
		_, err = d.state.Txn(ctx, kvstore.Op{Kind: kvstore.Set, Key: stateUnderlay, Value: b})
	}
	if err != nil { // only a start without a network needs it
		d.log.WithError(err).Debug("The underlay could not be recorded.")
	}
}

// firstUnderlay is the underlay at the start. A machine may boot while its network is
// away, and Docker must find weft all the same. Then it is the underlay that was found
// last, if --advertise is what it was.
func (d *daemon) firstUnderlay(ctx context.Context) (dataplane.Underlay, error) {
	u, err := d.underlay(ctx)
	if err == nil {
		return u, nil
	}
	was, unknown := d.recordedUnderlay(ctx)
	if unknown != nil || was.Advertise != d.cfg.Advertise || was.Addr.IsLoopback() {
		return u, &exitError{code: exitUsage, err: err}
	}
	d.log.WithError(err).WithField("address", was.Addr).
		Warn("This host's network is not there: containers reach those on this host only, until it is.")
	return dataplane.Underlay{Addr: was.Addr, MTU: was.MTU}, nil
}

func (d *daemon) recordedUnderlay(ctx context.Context) (lastUnderlay, error) {
	var u lastUnderlay
	pair, err := d.state.Get(ctx, stateUnderlay)
	if err != nil {
		return u, fmt.Errorf("read the underlay from this host's state: %w", err)
	}
	if err := json.Unmarshal(pair.Value, &u); err != nil {
		return u, fmt.Errorf("decode the underlay in this host's state: %w", err)
	}
	return u, nil
}

// followUnderlay takes over a change of the underlay's address, MTU or link, of the ways
// to other hosts or of IPsec, and asks for a verifying pass. Changes of other links,
// addresses and routes change nothing: every container start on any network brings some.
func (d *daemon) followUnderlay(ctx context.Context) {
	d.following.Lock()
	defer d.following.Unlock()
	u, err := d.underlay(ctx)
	if err != nil {
		d.log.WithError(err).Debug("The underlay cannot be told at the moment.")
		d.found = dataplane.Underlay{} // once it is back, what needs it may be gone
		return
	}
	d.recordUnderlay(ctx, u)
	if u == d.found {
		return
	}
	d.found = u
	d.registry.SetUnderlay(u.Addr, u.MTU)
	d.reconciler.Verify()
}
