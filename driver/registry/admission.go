package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/networks"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/kvstore"
)

// Claims is what this host may claim, and what other hosts and it have claimed as far as
// this host knows: the IPAM side asks it, see ipam.Permits and ipam.Networks.
type Claims struct {
	*directory
	rebuild *rebuild
	epochs  *epochs
	place   *place
	contact *contact
	peers   *peers.Peers

	yields atomic.Bool // see Yields; durable
}

// ErrFrozen is in Admit's error.
var ErrFrozen = errors.New("nothing new is claimed at the moment")

// Admit gives the conditions under which this host may claim what is nobody's
// according to the store, and the number of the store's epoch; or a sentence that
// says why it may not now. It answers from memory.
func (c *Claims) Admit() (checks []kvstore.Op, epoch uint64, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.admitLocked()
}

func (c *Claims) admitLocked() (checks []kvstore.Op, epoch uint64, err error) {
	if why := c.epochs.Refusal(c.epochs.viewLocked(), c.contact.last.Err, c.place.revision != 0, time.Now()); why != nil {
		return nil, 0, fmt.Errorf("%w, %w", ErrFrozen, why)
	}
	return []kvstore.Op{c.epochs.Check()}, c.epochs.Epoch.N, nil
}

// admitted waits until Admit gives its conditions; at ctx's end it fails with why not.
func (m maker) admitted(ctx context.Context) (checks []kvstore.Op, err error) {
	_ = m.await(ctx, &m.admission, func() bool {
		checks, _, err = m.claims.admitLocked()
		return err == nil
	})
	return checks, err
}

// Claimed gives the addresses in the subnet that other hosts have, by host,
// according to what each has said last: in use or in stock. A host that was
// declared dead or has left has none.
func (c *Claims) Claimed(subnet netip.Prefix) map[netip.Addr]string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[netip.Addr]string{}
	for n := range c.networks.All() {
		if !networks.HasSubnet(n, subnet) {
			continue
		}
		for host, at := range c.peers.In(n.ID) {
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
func (c *Claims) Asked(network string) []netip.Addr {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []netip.Addr
	for host, at := range c.peers.In(network) {
		if len(at.Asks) > 0 && c.livesLocked(host) {
			out = append(out, at.Asks[:min(len(at.Asks), overlay.MostAsks)]...)
		}
	}
	return out
}

// Lives says whether another host is alive and can be told something: the store shows its
// lease, and it is not silent.
func (c *Claims) Lives(host string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.livesLocked(host)
}

func (c *Claims) livesLocked(host string) bool {
	peer, known := c.peers.Peer(host)
	return known && peer.Live && !c.peers.Silent(host)
}
