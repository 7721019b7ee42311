package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
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
	if why := r.epoch.Refusal(r.viewLocked(), r.contact.Err, r.place.revision != 0, time.Now()); why != nil {
		return nil, 0, fmt.Errorf("%w, %w", ErrFrozen, why)
	}
	return []kvstore.Op{r.epoch.Check()}, r.epoch.Epoch.N, nil
}

// admitted waits until Admit gives its conditions; at ctx's end it fails with why not.
func (m maker) admitted(ctx context.Context) (checks []kvstore.Op, err error) {
	_ = m.await(ctx, &m.admission, func() bool {
		checks, _, err = m.admitLocked()
		return err == nil
	})
	return checks, err
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

// Asked gives the addresses in the network that other hosts ask for: whoever has one in
// stock is to give it back. Who may be dead asks for nothing.
func (r *Registry) Asked(network string) []netip.Addr {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []netip.Addr
	for host, at := range r.peers.In(network) {
		if len(at.Asks) > 0 && r.livesLocked(host) {
			out = append(out, at.Asks[:min(len(at.Asks), overlay.MostAsks)]...)
		}
	}
	return out
}

// Lives says whether another host is alive and can be told something: the store shows its
// lease, and it is not silent.
func (r *Registry) Lives(host string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.livesLocked(host)
}

func (r *Registry) livesLocked(host string) bool {
	peer, known := r.peers.Peer(host)
	return known && peer.Live && !r.peers.Silent(host)
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
