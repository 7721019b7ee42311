package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Changes is signalled after every change of what Admit answers.
func (c *Claims) Changes() (changes <-chan struct{}, stop func()) { return c.admission.subscribe() }

// Fence is what a transaction that claims an address for this host must hold:
// nobody has declared this host dead, or taken its place.
func (c *Claims) Fence() []kvstore.Op {
	return []kvstore.Op{{Kind: kvstore.Check, Key: record.DeadKey(c.Self().Name)}, c.place.fence()}
}

// NotDeadSince gives a condition that holds until this host comes back after having been
// declared dead, from the call on.
func (c *Claims) NotDeadSince(ctx context.Context) (kvstore.Op, error) {
	key := record.BackKey(c.Self().Name)
	p, err := c.cluster.Get(ctx, key)
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return kvstore.Op{}, fmt.Errorf("look when this host was declared dead last: %w", err)
	}
	return kvstore.Op{Kind: kvstore.Check, Key: key, Revision: p.Revision}, nil
}

// Yields says whether this host was declared dead and has not compared all its
// claims since. What another host has claimed meanwhile is that one's, whatever
// looks at it first, and although this host claimed it earlier: the mark has no
// say any more, and the store had not lost anything.
func (c *Claims) Yields() bool { return c.yields.Load() }

// ConfirmStoreIntact reads the hosts' records, and fails if they show that the store has
// lost data. Claims that were made just before are worth nothing then: the store had
// lost who else has the addresses.
func (c *Claims) ConfirmStoreIntact(ctx context.Context) error {
	c.mu.RLock()
	id, before := c.epochs.Epoch.ID, c.epochs.Seen()
	c.mu.RUnlock()
	pairs, _, err := c.cluster.List(ctx, record.HostPrefix)
	if err != nil {
		return fmt.Errorf("look whether the store has lost data: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	intact, due := c.epochs.Confirm(id, before, pairs)
	c.epochs.tendLocked(due)
	if !intact {
		return fmt.Errorf("%w, since the store has lost data", ErrFrozen)
	}
	return nil
}

// Hosts counts the hosts whose Docker has the network, this one included, and
// says how many of them come before this one in the order of their names.
func (c *Claims) Hosts(network string) (n, before int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n = 1
	for host := range c.peers.In(network) {
		if host != c.self.Name {
			n++
			if host < c.self.Name {
				before++
			}
		}
	}
	return n, before
}

// Owner says in words who uses the address, anywhere in the cluster, or "".
func (c *Claims) Owner(a netip.Addr) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e, used := c.endpoints.With(a); used {
		return owner(e.ID, e.Name, c.self.Name)
	}
	for at := range c.peers.Attachments() {
		for _, e := range at.Endpoints {
			if slices.Contains(e.Addrs, a) {
				return owner(e.ID, e.Name, at.Host)
			}
		}
	}
	return ""
}

// Uses says whether an endpoint of this host has the address.
func (c *Claims) Uses(a netip.Addr) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.endpoints.Uses(a)
}

// Held gives the subnets of the networks that this host's Docker has, with the
// addresses of this host's endpoints.
func (c *Claims) Held() map[netip.Prefix][]netip.Addr {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[netip.Prefix][]netip.Addr{}
	of := map[string][]netip.Prefix{}
	for n := range c.networks.Here() {
		of[n.ID] = record.Prefixes(n)
		for _, p := range of[n.ID] {
			out[p] = nil
		}
	}
	for e := range c.endpoints.All() {
		if e.Phase == overlay.Lost {
			continue
		}
		for _, a := range e.Addrs {
			for _, p := range of[e.Network] {
				if p.Contains(a) {
					out[p] = append(out[p], a)
				}
			}
		}
	}
	return out
}

// Rebuilding says whether this host may have endpoints that it has lost its records of,
// see Registry.Rebuilding.
func (c *Claims) Rebuilding() (lost, ready bool) { return c.rebuild.progress() }
