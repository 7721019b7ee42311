// Package endpoints is what one host has of containers' interfaces in the cluster's
// networks. It is a value: it has no lock, no store and no clock.
package endpoints

import (
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Endpoints are this host's own. One that is lost has its address no more: that is another
// host's by now.
type Endpoints struct {
	byID map[string]overlay.Endpoint
}

// New is what a host has that has none.
func New() *Endpoints { return &Endpoints{byID: map[string]overlay.Endpoint{}} }

// Put takes an endpoint as it is now.
func (e *Endpoints) Put(now overlay.Endpoint) { e.byID[now.ID] = now }

// Delete forgets an endpoint.
func (e *Endpoints) Delete(id string) { delete(e.byID, id) }

// DeleteIn forgets the endpoints in the network.
func (e *Endpoints) DeleteIn(network string) {
	maps.DeleteFunc(e.byID, func(_ string, of overlay.Endpoint) bool { return of.Network == network })
}

// DeletesIn gives the operations by which state forgets the endpoints in the network.
func (e *Endpoints) DeletesIn(network string) []kvstore.Op {
	var ops []kvstore.Op
	for id, of := range e.byID {
		if of.Network == network {
			ops = append(ops, record.Delete(record.StateEndpoint+id))
		}
	}
	return ops
}

// Get finds an endpoint.
func (e *Endpoints) Get(id string) (overlay.Endpoint, bool) {
	of, known := e.byID[id]
	return of, known
}

// All are the endpoints.
func (e *Endpoints) All() iter.Seq[overlay.Endpoint] { return maps.Values(e.byID) }

// Count is how many there are.
func (e *Endpoints) Count() int { return len(e.byID) }

// In says whether there is one in the network.
func (e *Endpoints) In(network string) bool {
	for _, of := range e.byID {
		if of.Network == network {
			return true
		}
	}
	return false
}

// Ported divides those in the network by whether its bridge has a port for them.
func (e *Endpoints) Ported(network string) (ported, beyond []overlay.Endpoint) {
	var in []overlay.Endpoint
	for _, of := range e.byID {
		if of.Network == network {
			in = append(in, of)
		}
	}
	return overlay.Ported(in)
}

// Joined says whether a container has one.
func (e *Endpoints) Joined() bool {
	for _, of := range e.byID {
		if of.Phase == overlay.Joined {
			return true
		}
	}
	return false
}

// With finds the endpoint that has the address.
func (e *Endpoints) With(a netip.Addr) (overlay.Endpoint, bool) {
	for _, of := range e.byID {
		if of.Phase != overlay.Lost && slices.Contains(of.Addrs, a) {
			return of, true
		}
	}
	return overlay.Endpoint{}, false
}

// Uses says whether one has the address.
func (e *Endpoints) Uses(a netip.Addr) bool {
	_, used := e.With(a)
	return used
}

// WithMAC finds the endpoint that has new's MAC address in new's network. One that is being
// taken out of its sandbox does not count.
func (e *Endpoints) WithMAC(of overlay.Endpoint) (overlay.Endpoint, bool) {
	for _, other := range e.byID {
		if other.Network == of.Network && other.MAC == of.MAC && other.Phase != overlay.Left && other.Phase != overlay.Lost {
			return other, true
		}
	}
	return overlay.Endpoint{}, false
}
