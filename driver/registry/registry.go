package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/epoch"
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

	// Identity is what Identify and Bind found; zero: of an unknown machine.
	Identity Identity

	// Remains gives what this host's kernel has of networks. It is asked once,
	// and only if State is new. nil: nothing.
	Remains func() ([]overlay.Remains, error)
}

// Registry is one host's knowledge. Safe for concurrent use.
type Registry struct {
	cluster   kvstore.Store
	state     kvstore.Store
	log       logrus.FieldLogger
	local     broadcast // own records changed
	any       broadcast // anything changed
	admission broadcast // what the admission of claims goes by has changed
	observe   Observer
	skipped   *skipped.List // records of the store that are passed over

	numbers numbers
	flushes chan struct{} // something is to be saved, see keepLocked
	signs   ed25519.PrivateKey

	// writes is held by whoever changes what is durable, over the write to state. So what
	// the change goes by stays as it was, but for what other hosts say meanwhile.
	// Taken after numbers.mu and before mu.
	writes sync.Mutex

	// mu guards all following fields, and the values of the rooms among them. It is held
	// neither over writes to state, which may hang, nor over calls to the cluster's store
	// or the IPAM side: beats and snapshots need it.
	mu           sync.RWMutex
	self         overlay.Host
	meta         record.Meta
	docker       map[string]attached              // by Docker's network id
	endpoints    map[string]overlay.Endpoint      // own, by endpoint id
	remove       map[string]bool                  // network ids whose removal was asked here
	removing     map[string]bool                  // those of them that the store was asked for, with no answer yet
	halfMade     map[string]overlay.Network       // see settleHalfMade
	mirroring    map[string]int                   // network id → requests to Docker under way, see Mirroring
	networks     map[string]overlay.Network       // by id, tombstones too
	decoded      map[string]record.DecodedNetwork // by key, as the store had them last
	graves       graves                           // of the tombstones among them
	peers        *peers.Peers
	absent       map[string]bool // attached networks that the store has lost
	storeChanged bool            // the host was alone when it ran last and is not now, or the other way round
	published    bool            // the store has had this host's record
	rereadStore  bool            // the store may have lost this host's record since, or have something else
	addresses    Addresses
	contact      Contact
	leasesUnseen bool // the watch of the hosts' records fails
	lag          watchLag
	rebuild      rebuild
	epoch        epoch.State
	epochWake    chan struct{} // the epoch has something to do
	place        place
	rotation     rotation

	away   atomic.Bool // this host's machine shuts down
	yields atomic.Bool // see Yields; durable

	unsaved    map[string]kvstore.Op // by key in state: other hosts' records that could not be written
	unwritable bool                  // so the log has said
}

// attached says which network a Docker network is.
type attached struct {
	Network string    `json:"network"`
	At      time.Time `json:"at"`

	earlier bool // as an earlier process has recorded it
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

// Contact is how the store was doing when last asked.
type Contact struct {
	Since time.Time // when it became so
	Err   error     // nil: it answers
}

// Open reads the host's state. It does not touch the cluster's store.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	r := &Registry{
		cluster: cfg.Cluster, state: cfg.State, log: cfg.Log, self: cfg.Self,
		docker: map[string]attached{}, endpoints: map[string]overlay.Endpoint{}, remove: map[string]bool{}, removing: map[string]bool{}, halfMade: map[string]overlay.Network{}, mirroring: map[string]int{},
		networks: map[string]overlay.Network{}, graves: graves{seen: map[string]grave{}},
		peers:   peers.New(cfg.Self, cfg.Reap),
		flushes: make(chan struct{}, 1),
		unsaved: map[string]kvstore.Op{},
		observe: cfg.Observe.filled(),
		contact: Contact{Since: time.Now(), Err: fmt.Errorf("not asked yet")},
		epoch:   epoch.New(time.Now()), epochWake: make(chan struct{}, 1),
		place: place{id: cfg.Identity}, rotation: newRotation(),
	}
	if cfg.Identity.Run == "" {
		var err error
		if r.place.id, err = Identify(ctx, cfg.State, identity.Machine{}, ""); err != nil {
			return nil, err
		}
	}
	if r.skipped = cfg.Skipped; r.skipped == nil {
		r.skipped = &skipped.List{}
	}
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

// AddressesChanged says that the claimed addresses, or those that this host asks for, are
// others than before.
func (r *Registry) AddressesChanged() { r.changedLocally() }

// Changes gives a channel that gets a value after anything here has changed;
// several changes may share one value. Call stop when done.
func (r *Registry) Changes() (changes <-chan struct{}, stop func()) { return r.any.subscribe() }

func (r *Registry) changedLocally() {
	r.local.send()
	r.any.send()
}

// Self is this host's record.
func (r *Registry) Self() overlay.Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.self
}

// Snapshot is all that a plan for this host needs.
func (r *Registry) Snapshot() overlay.Snapshot {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := overlay.Snapshot{
		Self: r.self, Partial: r.rebuild.lost || r.epoch.Partial(), Hosts: map[string]overlay.Host{}, Networks: map[string]overlay.Network{},
		Local: slices.Collect(maps.Values(r.endpoints)), Peers: map[string][]overlay.Attachment{},
		Silent: r.peers.Silences(), Probes: r.peers.Probes(), Held: r.heldLocked(),
	}
	now := time.Now()
	for name, p := range r.peers.All() {
		// What is sent to this host's own address would come back to it.
		if r.peers.SentTo(name, now) && p.VTEP != r.self.VTEP {
			s.Hosts[name] = p.Host
		}
	}
	for id, n := range r.networks {
		if n.Deleted.IsZero() || r.inUseLocked(id) {
			s.Networks[id] = n
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
	for _, e := range r.endpoints {
		if _, done := out[e.Network]; done {
			continue
		}
		var held []netip.Addr
		for _, p := range record.Prefixes(r.networks[e.Network]) {
			held = append(held, r.addresses.Held(p)...)
		}
		out[e.Network] = held
	}
	return out
}

// inUseLocked says whether this host has an endpoint in the network.
func (r *Registry) inUseLocked(network string) bool {
	for _, e := range r.endpoints {
		if e.Network == network {
			return true
		}
	}
	return false
}

// newID makes 12 random hex digits, see overlay.GeneratedID.
func newID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return hex.EncodeToString(b[:])
}
