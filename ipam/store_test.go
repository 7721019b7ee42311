package ipam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// memory is a model of a Store: what the contract says, and nothing else.
type memory struct {
	mu       sync.Mutex
	pairs    map[string]kvstore.Pair
	revision uint64
	txns     int
}

func newMemory() *memory { return &memory{pairs: map[string]kvstore.Pair{}} }

func (m *memory) Get(_ context.Context, key string) (kvstore.Pair, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.pairs[key]
	if !ok {
		return p, fmt.Errorf("%s: %w", key, kvstore.ErrNotFound)
	}
	return p, nil
}

func (m *memory) List(_ context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []kvstore.Pair
	for key, p := range m.pairs {
		if strings.HasPrefix(key, prefix) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b kvstore.Pair) int { return strings.Compare(a.Key, b.Key) })
	return out, m.revision, nil
}

func (m *memory) Wait(context.Context, string, uint64) ([]kvstore.Pair, uint64, error) {
	panic("not used here")
}

func (m *memory) Hold(context.Context, string, string, []byte, time.Duration, func(), ...kvstore.Op) error {
	panic("not used here")
}

func (m *memory) Close() error { return nil }

func (m *memory) Txn(_ context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	if err := kvstore.CheckOps(ops); err != nil {
		panic(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, op := range ops {
		old := m.pairs[op.Key].Revision
		bad := false
		switch op.Kind {
		case kvstore.CAS, kvstore.Check:
			bad = old != op.Revision
		case kvstore.DeleteCAS:
			bad = old != op.Revision && old != 0
		case kvstore.Set, kvstore.Delete:
		}
		if bad {
			return nil, &kvstore.ConflictError{Op: i, Key: op.Key}
		}
	}
	m.revision++
	m.txns++
	var out []kvstore.Pair
	for _, op := range ops {
		switch op.Kind {
		case kvstore.Set, kvstore.CAS:
			if old, ok := m.pairs[op.Key]; !ok || !bytes.Equal(old.Value, op.Value) {
				m.pairs[op.Key] = kvstore.Pair{Key: op.Key, Value: op.Value, Revision: m.revision}
			}
			out = append(out, kvstore.Pair{Key: op.Key, Revision: m.pairs[op.Key].Revision})
		case kvstore.Delete, kvstore.DeleteCAS:
			delete(m.pairs, op.Key)
		case kvstore.Check:
		}
	}
	return out, nil
}

func (m *memory) keys(prefix string) []string {
	pairs, _, _ := m.List(context.Background(), prefix)
	var out []string
	for _, p := range pairs {
		out = append(out, p.Key)
	}
	return out
}

// fault is what happens to one call of a store.
type fault int

const (
	none   fault = iota
	before       // fails without effect
	after        // has its effect, but fails
	late         // fails, and has its effect some calls later
)

var errCut = fmt.Errorf("cut: %w", kvstore.ErrUnavailable)

// cutOff is the store, of which nobody has anything while down is set.
func cutOff(store kvstore.Store, down *atomic.Bool) kvstore.Store {
	return kvtest.Before(store, func(context.Context, kvtest.Request) error {
		if down.Load() {
			return errCut
		}
		return nil
	})
}

// flaky makes stores whose requests fail, and keeps their transactions that are late.
type flaky struct {
	mu      sync.Mutex
	delayed []kvtest.Do
}

// store is the store, whose requests fail as next says.
func (f *flaky) store(store kvstore.Store, next func(kvtest.Request) fault) kvstore.Store {
	return kvtest.Around(store, func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
		switch fate := next(r); {
		case fate == none:
			return do(ctx)
		case fate == after && r.Method == kvtest.Txn:
			_, err := do(ctx)
			return kvtest.Answer{}, errors.Join(errCut, err)
		case fate == late && r.Method == kvtest.Txn:
			f.mu.Lock()
			f.delayed = append(f.delayed, do)
			f.mu.Unlock()
		}
		return kvtest.Answer{}, errCut
	})
}

// flush carries out what is late.
func (f *flaky) flush() {
	f.mu.Lock()
	delayed := f.delayed
	f.delayed = nil
	f.mu.Unlock()
	for _, do := range delayed {
		_, _ = do(context.Background())
	}
}

// networks is what a host's registry would tell.
type networks struct {
	mu       sync.Mutex
	byID     map[string]overlay.Network
	attached map[string]bool
	owners   map[netip.Addr]string
	others   map[netip.Addr]string // what other hosts say that they have
	mine     map[netip.Addr]bool   // addresses of this host's endpoints
	lost     bool                  // see Rebuilding
	hosts    int                   // that take part in every network, 1 if 0
	before   int                   // of them, see Cluster
	asked    []netip.Addr          // what other hosts ask for
	live     map[string]*host      // other hosts that are heard, see hears

	mirroring string // id of the network that Docker is being asked for
}

func newNetworks() *networks {
	return &networks{byID: map[string]overlay.Network{}, attached: map[string]bool{}, owners: map[netip.Addr]string{}, mine: map[netip.Addr]bool{}, hosts: 1}
}

func (n *networks) Network(ref string) (overlay.Network, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, net := range n.byID {
		if id == ref || net.Name == ref {
			return net, true
		}
	}
	return overlay.Network{}, false
}

func (n *networks) Mirrored(p netip.Prefix) (overlay.Network, bool) {
	net, ok := n.NetworkOf(p)
	n.mu.Lock()
	defer n.mu.Unlock()
	return net, ok && n.mirroring == net.ID
}

func (n *networks) NetworkOf(p netip.Prefix) (overlay.Network, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, net := range n.byID {
		for _, s := range net.Subnets {
			if s.Prefix == p {
				return net, true
			}
		}
	}
	return overlay.Network{}, false
}

func (n *networks) Attached(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attached[id]
}

func (n *networks) Owner(a netip.Addr) string {
	for name, other := range n.heard() {
		if other.networks.Uses(a) {
			return "container c on host " + name
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.owners[a]
}

func (n *networks) Uses(a netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mine[a]
}

func (n *networks) Claimed(subnet netip.Prefix) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for name, other := range n.heard() {
		for _, a := range slices.Concat(other.Stock(subnet), other.networks.Held()[subnet]) {
			out[a] = name
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for a, host := range n.others {
		if subnet.Contains(a) {
			out[a] = host
		}
	}
	return out
}

func (n *networks) Lives(host string) bool { return n.heard()[host] != nil }

func (n *networks) Asked(network string) []netip.Addr {
	net, _ := n.Network(network)
	n.mu.Lock()
	out := slices.Clone(n.asked)
	n.mu.Unlock()
	for _, other := range n.heard() {
		for _, s := range net.Subnets {
			out = append(out, other.Asks(s.Prefix)...)
		}
	}
	return out
}

// heard are the other hosts that are heard, by name.
func (n *networks) heard() map[string]*host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.live)
}

// hears makes another host heard: what it has and asks for is known at once.
func (n *networks) hears(other *host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.live == nil {
		n.live = map[string]*host{}
	}
	n.live[other.name] = other
}

// ask makes other hosts ask for these addresses.
func (n *networks) ask(addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = addrs
}

// says makes another host say that it has an address, or not if host is empty.
func (n *networks) says(host string, a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.others == nil {
		n.others = map[netip.Addr]string{}
	}
	if n.others[a] = host; host == "" {
		delete(n.others, a)
	}
}

func (n *networks) Hosts(string) (hosts, before int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return max(n.hosts, 1), n.before
}

func (n *networks) InUse(subnet netip.Prefix) (addrs, hosts int, here bool) {
	for _, other := range n.heard() {
		if used := len(other.networks.Held()[subnet]); used > 0 {
			addrs, hosts = addrs+used, hosts+1
		}
	}
	users := map[string]bool{}
	n.mu.Lock()
	defer n.mu.Unlock()
	for a, host := range n.others {
		if subnet.Contains(a) && n.owners[a] != "" {
			addrs++
			users[host] = true
		}
	}
	for a := range n.mine {
		if subnet.Contains(a) {
			addrs++
			here = true
		}
	}
	if here {
		hosts++
	}
	return addrs, hosts + len(users), here
}

func (n *networks) Held() map[netip.Prefix][]netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[netip.Prefix][]netip.Addr{}
	for id, net := range n.byID {
		for _, s := range net.Subnets {
			if !n.attached[id] {
				continue
			}
			out[s.Prefix] = nil
			for a := range n.mine {
				if s.Prefix.Contains(a) {
					out[s.Prefix] = append(out[s.Prefix], a)
				}
			}
		}
	}
	return out
}

func (n *networks) Rebuilding() (lost, ready bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost, true
}

// endpoint says that this host has an endpoint with the address.
func (n *networks) endpoint(a netip.Addr) {
	n.own(a, "container c on host h1")
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mine[a] = true
}

// removeEndpoint makes the address nobody's on this host.
func (n *networks) removeEndpoint(a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.mine, a)
	delete(n.owners, a)
}

// rebuild says whether this host may have endpoints that nobody knows.
func (n *networks) rebuild(lost bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = lost
}

// add makes a network that is live everywhere, and attached here if here is set.
func (n *networks) add(id string, here bool, subnets ...overlay.Subnet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byID[id] = overlay.Network{ID: id, Name: id, Host: "h1", Subnets: subnets}
	n.attached[id] = here
}

func (n *networks) remove(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.byID, id)
	delete(n.attached, id)
}

// own says who uses an address; nobody if owner is empty.
func (n *networks) own(a netip.Addr, owner string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.owners[a] = owner; owner == "" {
		delete(n.owners, a)
	}
}
