package registry

import (
	"github.com/weft-net/weft/driver/arrival"
	"github.com/weft-net/weft/driver/overlay"
)

// Names of an endpoint that has not arrived are told to nobody, here or elsewhere. All
// else is: its address and MAC have to be in the tables when its link comes up.

// Arrived says that endpoints have arrived, or are waited for no longer.
func (r *Registry) Arrived() { r.changedLocally() }

// localLocked are this host's endpoints, for a snapshot.
func (r *Registry) localLocked() []overlay.Endpoint {
	out := make([]overlay.Endpoint, 0, r.endpoints.Count())
	for e := range r.endpoints.All() {
		e.Arriving = r.arrivals.Coming(e.ID)
		out = append(out, e)
	}
	return out
}

// toldOf is what peers are told of an endpoint.
func toldOf(e overlay.Endpoint, arrivals *arrival.Arrivals) overlay.PeerEndpoint {
	told := overlay.PeerEndpoint{ID: e.ID, MAC: e.MAC, Addrs: e.Addrs}
	if !arrivals.Coming(e.ID) {
		told.Name, told.Names = e.Name, e.Names
	}
	return told
}
