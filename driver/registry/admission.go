package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// ErrFrozen is in Admit's error.
var ErrFrozen = errors.New("nothing new is claimed at the moment")

// Admit gives the conditions under which this host may claim what is nobody's
// according to the store, and the number of the store's epoch; or a sentence that
// says why it may not now. It answers from memory.
func (r *Registry) Admit() (checks []kvstore.Op, epoch uint64, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.admitLocked()
}

func (r *Registry) admitLocked() (checks []kvstore.Op, epoch uint64, err error) {
	e := &r.era
	switch {
	case e.revision == 0 && r.contact.Err != nil:
		return nil, 0, fmt.Errorf("%w, since the store does not answer: %w", ErrFrozen, r.contact.Err)
	case e.unread != nil:
		return nil, 0, fmt.Errorf("%w, since the store's record %s %w", ErrFrozen, record.EpochKey, e.unread)
	case r.place.revision == 0:
		return nil, 0, fmt.Errorf("%w, since this host has not taken its place among the hosts of the store yet: try again in a moment", ErrFrozen)
	case e.revision == 0 || e.suspect != nil:
		return nil, 0, fmt.Errorf("%w, since the store is new or has lost data and is told again what there is: try again in a moment", ErrFrozen)
	case !e.Settled && r.rebuild.lost && r.owesLocked(time.Now()):
		return nil, 0, fmt.Errorf("%w, since this host's state was lost or set aside, and not all its containers are known again: try again, at the latest after %s",
			ErrFrozen, e.since.Add(settleTime).UTC().Format(time.RFC3339))
	case !e.Settled:
		missing := "this host"
		if others := e.absentees(r.self, r.peers.Docs()); e.verified == e.Epoch.ID && len(others) > 0 {
			missing = "host " + strings.Join(others, ", host ")
		}
		return nil, 0, fmt.Errorf("%w, since the store has lost data (it was wiped, restored or moved) and %s has not recorded again what it has: try again, at the latest after %s",
			ErrFrozen, missing, e.since.Add(settleTime).UTC().Format(time.RFC3339))
	}
	return []kvstore.Op{{Kind: kvstore.Check, Key: record.EpochKey, Revision: e.revision}}, e.Epoch.N, nil
}

// admitted waits until Admit gives its conditions; at ctx's end it fails with why not.
func (r *Registry) admitted(ctx context.Context) (checks []kvstore.Op, err error) {
	ticker := time.NewTicker(trustLook)
	defer ticker.Stop()
	for {
		if checks, _, err = r.Admit(); err == nil {
			return checks, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-ticker.C:
		}
	}
}

// Claimed gives the addresses in the subnet that other hosts have, by host,
// according to what each has said last: in use or in stock. A host that was
// declared dead or has left has none.
func (r *Registry) Claimed(subnet netip.Prefix) map[netip.Addr]string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := map[netip.Addr]string{}
	for id, n := range r.networks {
		if !hasSubnet(n, subnet) {
			continue
		}
		for host, at := range r.peers.In(id) {
			add := func(a netip.Addr) {
				if subnet.Contains(a) {
					out[a] = host
				}
			}
			for _, a := range at.Stock {
				add(a)
			}
			for _, e := range at.Endpoints {
				for _, a := range e.Addrs {
					add(a)
				}
			}
		}
	}
	return out
}

func hasSubnet(n overlay.Network, p netip.Prefix) bool {
	for _, s := range n.Subnets {
		if s.Prefix == p {
			return true
		}
	}
	return false
}

// usesLocked says whether an endpoint of this host has the address.
func (r *Registry) usesLocked(a netip.Addr) bool {
	for _, e := range r.endpoints {
		if e.Phase == overlay.Lost {
			continue
		}
		if slices.Contains(e.Addrs, a) {
			return true
		}
	}
	return false
}
