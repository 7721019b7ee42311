package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/arrival"
	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// Config is what a Registry is made from.
type Config struct {
	Self    overlay.Host  // Incarnation is filled in from state
	Cluster kvstore.Store // shared by all hosts, may be away
	State   kvstore.Store // this host's own, durable
	Alone   bool          // Cluster is this host's own too: no other host can have it
	Reap    time.Duration // after which a dead host's addresses are freed; 0: never
	Log     logrus.FieldLogger
	Observe Observer
	Skipped *skipped.List // gets what is passed over; nil: nobody asks

	// Arrivals are this host's endpoints that are on their way; nil: all have arrived.
	Arrivals *arrival.Arrivals

	// Identity is what Identify and Bind found; zero: of an unknown machine.
	Identity Identity

	// Remains gives what this host's kernel has of networks. It is asked once,
	// and only if State is new. nil: nothing.
	Remains func() ([]overlay.Remains, error)
}

// Registry is one host's knowledge. Safe for concurrent use.
//
// It answers Docker's driver, the mirror and people. Claims answers the IPAM side, Direct
// says what hosts tell each other directly, Keyring changes the cluster's keys, and
// Departure is how this host goes. Each part owns what it is about, under one lock.
type Registry struct {
	*directory

	peers     *peers.Peers
	rebuild   *rebuild
	epochs    *epochs
	place     *place
	contact   *contact
	published *publication
	documents *documents
	arrivals  *arrival.Arrivals
	observe   Observer
	maker     maker
	reaper    reaper

	claims    *Claims
	direct    *Direct
	keyring   *Keyring
	departure *Departure
}

// Addresses is the IPAM side, as far as networks' records need it.
type Addresses interface {
	// Stock lists the addresses of the subnet that this host has claimed and
	// not handed out.
	Stock(subnet netip.Prefix) []netip.Addr

	// Asks lists the addresses of the subnet that this host asks others to give up,
	// sorted.
	Asks(subnet netip.Prefix) []netip.Addr

	// Held lists the addresses of the subnet that this host has claimed, handed
	// out or not. It waits for nothing.
	Held(subnet netip.Prefix) []netip.Addr

	// Verify compares this host's claims with the cluster's store, and takes
	// care of those that are lost. With yield another host keeps what it has,
	// even if it claimed it only after the store had lost this host's claim.
	Verify(ctx context.Context, yield bool) error

	// ClaimsOf gives the operations that delete every address of another host,
	// each as it is now.
	ClaimsOf(ctx context.Context, host string) ([]kvstore.Op, error)

	// PoolOps gives the operations that take the subnets' pools out of the
	// cluster's store; they become part of the network's removal.
	PoolOps(ctx context.Context, subnets []netip.Prefix) ([]kvstore.Op, error)
}

// Open reads the host's state. It does not touch the cluster's store.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	id := cfg.Identity
	if id.Run == "" {
		var err error
		if id, err = Identify(ctx, cfg.State, identity.Machine{}, ""); err != nil {
			return nil, err
		}
	}
	r := assemble(cfg, id)
	if err := r.load(ctx, cfg.Alone); err != nil {
		return nil, fmt.Errorf("read this host's state: %w", err)
	}
	if r.rebuild.lost && cfg.Remains != nil {
		var err error
		if r.rebuild.remains, err = cfg.Remains(); err != nil {
			return nil, fmt.Errorf("read what this host's kernel has: %w", err)
		}
	}
	return r, nil
}

// SetAddresses gives the IPAM side, which in turn needs the Registry. Call it
// before Run.
func (r *Registry) SetAddresses(a Addresses) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addresses = a
}

// SetUnderlay follows a change of the underlay's MTU or address.
func (r *Registry) SetUnderlay(vtep netip.Addr, mtu int) {
	r.mu.Lock()
	changed := r.self.VTEP != vtep || r.self.MTU != mtu
	r.place.unsure = r.place.unsure || r.self.VTEP != vtep // its owner's record has the address
	r.self.VTEP, r.self.MTU = vtep, mtu
	if r.self.Push.IsValid() {
		r.self.Push = netip.AddrPortFrom(vtep, r.self.Push.Port())
		r.peers.Listen(r.self.Push.IsValid())
	}
	r.mu.Unlock()
	if changed {
		r.changedLocally()
	}
}

// SetDirect tells the other hosts at which MAC this one takes packets without a tunnel;
// zero: it takes none.
func (r *Registry) SetDirect(mac overlay.MAC) {
	r.mu.Lock()
	changed := r.self.Direct != mac
	r.self.Direct = mac
	r.mu.Unlock()
	if changed {
		r.changedLocally()
	}
}

// AddressesChanged says that the claimed addresses, or those that this host asks for, are
// others than before.
func (r *Registry) AddressesChanged() { r.changedLocally() }

// Snapshot is all that a plan for this host needs.
func (r *Registry) Snapshot() overlay.Snapshot {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := overlay.Snapshot{
		Self: r.self, Partial: r.rebuild.lost || r.epochs.Partial(), Hosts: map[string]overlay.Host{}, Networks: map[string]overlay.Network{},
		Local: r.localLocked(), Peers: map[string][]overlay.Attachment{},
		Silent: r.peers.Silences(), Probes: r.peers.Probes(), Held: r.heldLocked(),
	}
	now := time.Now()
	for name, p := range r.peers.All() {
		// What is sent to this host's own address would come back to it.
		if r.peers.SentTo(name, now) && p.VTEP != r.self.VTEP {
			s.Hosts[name] = p.Host
		}
	}
	for n := range r.networks.All() {
		if n.Deleted.IsZero() || r.endpoints.In(n.ID) {
			s.Networks[n.ID] = n
		}
	}
	for at := range r.peers.Attachments() {
		s.Peers[at.Network] = append(s.Peers[at.Network], at)
	}
	return s
}

// heldLocked are the addresses that this host holds in the networks in which it has
// endpoints, by network id.
func (r *Registry) heldLocked() map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	if r.addresses == nil {
		return out
	}
	for e := range r.endpoints.All() {
		if _, done := out[e.Network]; done {
			continue
		}
		var held []netip.Addr
		n, _ := r.networks.Record(e.Network)
		for _, p := range record.Prefixes(n) {
			held = append(held, r.addresses.Held(p)...)
		}
		out[e.Network] = held
	}
	return out
}

// newID makes 12 random hex digits, see overlay.GeneratedID.
func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return hex.EncodeToString(b[:])
}
