package registry

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// pooled is what the IPAM side tells of a network's pools.
type pooled struct {
	stock []netip.Addr // claimed and not handed out
	asks  []netip.Addr // see overlay.Attachment
}

// pooled is what the IPAM side tells of the pools of all networks that this host's Docker
// has, by network id. The IPAM side may be writing at the moment, so mu is not held.
func (d *documents) pooled() map[string]pooled {
	d.mu.RLock()
	addresses, subnets := d.addresses, map[string][]netip.Prefix{}
	for n := range d.networks.Here() {
		subnets[n.ID] = record.Prefixes(n)
	}
	d.mu.RUnlock()
	out := map[string]pooled{}
	for network, all := range subnets {
		var of pooled
		for _, p := range all {
			of.stock = append(of.stock, addresses.Stock(p)...)
			of.asks = append(of.asks, addresses.Asks(p)...)
		}
		out[network] = of
	}
	return out
}

// attachmentLocked is what peers are told of this host's part in the network.
func (d *documents) attachmentLocked(network string, of pooled) overlay.Attachment {
	at := overlay.Attachment{Network: network, Host: d.self.Name, Incarnation: d.self.Incarnation}
	used := map[string]bool{}
	for e := range d.endpoints.All() {
		if e.Network != network || e.Phase == overlay.Left || e.Phase == overlay.Lost {
			continue
		}
		at.Endpoints = append(at.Endpoints, toldOf(e, d.arrivals))
		for _, a := range e.Addrs {
			used[a.String()] = true
		}
	}
	slices.SortFunc(at.Endpoints, func(a, b overlay.PeerEndpoint) int { return strings.Compare(a.ID, b.ID) })
	for _, a := range of.stock {
		if !used[a.String()] {
			at.Stock = append(at.Stock, a)
		}
	}
	slices.SortFunc(at.Stock, func(a, b netip.Addr) int { return a.Compare(b) })
	slices.SortFunc(of.asks, netip.Addr.Compare)
	at.Asks = of.asks[:min(len(of.asks), overlay.MostAsks)] // the others when these are had
	return at
}
