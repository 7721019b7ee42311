package ipam

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// gate is an Admit that the test opens and shuts.
type gate struct {
	mu     sync.Mutex
	epoch  uint64
	checks []kvstore.Op
	err    error
	asked  int
	heard  map[chan struct{}]bool
}

func (g *gate) changes() (<-chan struct{}, func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ch := make(chan struct{}, 1)
	if g.heard == nil {
		g.heard = map[chan struct{}]bool{}
	}
	g.heard[ch] = true
	return ch, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.heard, ch)
	}
}

func (g *gate) admit() ([]kvstore.Op, uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	return g.checks, g.epoch, g.err
}

func (g *gate) set(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	for ch := range g.heard {
		signal(ch)
	}
}

func (g *gate) host(t *testing.T, name string, cluster kvstore.Store) *host {
	h := newHost(t, name, cluster)
	h.permits.admit, h.permits.changes = g.admit, g.changes
	h.open()
	return h
}

// forget is a store that loses an address.
func forget(t *testing.T, cluster *memory, id space.PoolID, a netip.Addr) {
	t.Helper()
	if _, err := cluster.Txn(context.Background(), kvstore.Op{Kind: kvstore.Delete, Key: record.AddrKey(id.Subnet, a)}); err != nil {
		t.Fatal(err)
	}
}

// Who may not claim hands out what is in stock, and refuses in a sentence what is
// not, within the time that Docker waits.
func TestFrozenClaims(t *testing.T) {
	t.Parallel()
	cluster, g := newMemory(), &gate{epoch: 1}
	h := g.host(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/16", "10.1.1.0/24")
	h.work()
	g.set(errors.New("the store has lost data"))
	stock := h.stock(id)
	for range stock {
		h.mustAny(id)
	}
	if stock < 8 {
		t.Errorf("only %d addresses came from stock", stock)
	}
	for what, request := range map[string]func() error{
		"any address":     func() error { _, err := h.any(id); return err },
		"a named address": func() error { return h.named(id, "10.1.0.200") },
	} {
		began := time.Now()
		err := request()
		if err == nil || !strings.Contains(err.Error(), "the store has lost data") {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(began); took > kvstore.Patience+500*time.Millisecond {
			t.Errorf("%s was refused after %v", what, took)
		}
	}
	time.AfterFunc(100*time.Millisecond, func() { g.set(nil) })
	h.mustAny(id) // it waits, and gets one
}

// A host that has not noticed yet what the store has lost is refused in a sentence
// too.
func TestClaimsInAFormerEpoch(t *testing.T) {
	t.Parallel()
	cluster, g := newMemory(), &gate{epoch: 1}
	h := g.host(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	g.mu.Lock()
	g.checks = []kvstore.Op{{Kind: kvstore.Check, Key: "net/.epoch", Revision: 1 << 40}}
	g.mu.Unlock()
	for what, request := range map[string]func() error{
		"a named address": func() error { return h.named(id, "10.1.0.200") },
		"a pool": func() error {
			_, err := h.RequestPool(t.Context(), PoolRequest{Subnet: netip.MustParsePrefix("10.2.0.0/24")})
			return err
		},
	} {
		if err := request(); err == nil || !strings.Contains(err.Error(), "the store has lost data") || !strings.Contains(err.Error(), "try again") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// An address that another host says it has is not claimed, even if the store has
// lost that.
func TestWhatOthersHaveIsNotClaimed(t *testing.T) {
	t.Parallel()
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/29", "") // .1 is the gateway's
	for _, last := range []string{"2", "3", "4"} {
		h.networks.says("h2", netip.MustParseAddr("10.1.0."+last))
	}
	if err := h.named(id, "10.1.0.3"); err == nil || err.Error() != "address 10.1.0.3 is in use or kept in stock on host h2: choose another, or free it there" {
		t.Errorf("a named one: %v", err)
	}
	// A snapshot may have brought back a claim from before this host lost its State.
	old := kvstore.Op{Kind: kvstore.Set, Key: record.AddrKey(id.Subnet, netip.MustParseAddr("10.1.0.2")), Value: record.Encode(claim.Holder{Host: "h1", Incarnation: "0"})}
	if _, err := cluster.Txn(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	wantError(t, h.named(id, "10.1.0.2"), "address 10.1.0.2 is in use or kept in stock on host h2")
	got := space.Set{h.mustAny(id): {}, h.mustAny(id): {}}
	if !got.Has(netip.MustParseAddr("10.1.0.5")) || !got.Has(netip.MustParseAddr("10.1.0.6")) {
		t.Errorf("handed out are %v", got)
	}
	if a, err := h.any(id); !errors.Is(err, errExhausted) {
		t.Errorf("one more: %v, %v", a, err)
	}
	time.AfterFunc(50*time.Millisecond, func() { h.networks.says("", netip.MustParseAddr("10.1.0.4")) })
	if err := h.named(id, "10.1.0.4"); err != nil { // it was released just now
		t.Error(err)
	}
}

// Of two hosts that have an address in use after the store had lost one's claim,
// the older claim stands; and what a snapshot brought back counts for nothing.
func TestTheOlderClaimWins(t *testing.T) {
	cluster, g := newMemory(), &gate{epoch: 1}
	h1, h2 := g.host(t, "h1", cluster), g.host(t, "h2", cluster)
	id := h1.network("n", "10.1.0.0/24", "")
	network, _ := h1.networks.Network("n")
	id2 := h2.mirror("n", network.Subnets[0])
	a := netip.MustParseAddr("10.1.0.9")
	if err := h1.named(id, a.String()); err != nil {
		t.Fatal(err)
	}
	h1.networks.own(a, "container a on host h1")
	forget(t, cluster, id, a)
	g.epoch = 2
	if err := h2.named(id2, a.String()); err != nil {
		t.Fatal(err)
	}
	h2.networks.own(a, "container b on host h2")

	g.set(errors.New("frozen"))
	if err := h1.Verify(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, cluster, id, a); got.Host != "h2" || len(h1.lost) > 0 {
		t.Errorf("before it is time to decide, %v is %s's, and h1 lost %v", a, got.Host, h1.lost)
	}
	g.set(nil)
	for _, h := range []*host{h1, h2, h1} {
		if err := h.Verify(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if got := holds(t, cluster, id, a); got.Host != "h1" || len(h1.lost) > 0 || len(h2.lost) != 1 {
		t.Errorf("%v is %s's, h1 lost %v, h2 lost %v", a, got.Host, h1.lost, h2.lost)
	}

	// A host that was declared dead yields.
	forget(t, cluster, id, a)
	if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: record.AddrKey(id.Subnet, a), Value: record.Encode(claim.Holder{Host: "h3", Birth: claim.Birth{Epoch: 7}})}); err != nil {
		t.Fatal(err)
	}
	h1.permits.yields = func() bool { return true } // whatever looks at it first
	h1.open()
	if err := h1.Verify(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, cluster, id, a); got.Host != "h3" || len(h1.lost) != 1 {
		t.Errorf("%v is %s's, h1 lost %v", a, got.Host, h1.lost)
	}
}

// deadKeyOfH1 and backKeyOfH1 are what the registry calls h1's mark and the end of it.
const deadKeyOfH1, backKeyOfH1 = "host/h1/dead", "host/h1/back"

// bury declares h1 dead, which has the address in use, and has h2 claim it.
func bury(t *testing.T, cluster *memory, h1, h2 *host, a netip.Addr) space.PoolID {
	t.Helper()
	h1.permits.fence = func() []kvstore.Op { return []kvstore.Op{{Kind: kvstore.Check, Key: deadKeyOfH1}} }
	h1.open()
	id := h1.network("n", "10.1.0.0/24", "")
	network, _ := h1.networks.Network("n")
	id2 := h2.mirror("n", network.Subnets[0])
	if err := h1.named(id, a.String()); err != nil {
		t.Fatal(err)
	}
	h1.networks.own(a, "container a on host h1")
	if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: deadKeyOfH1}); err != nil {
		t.Fatal(err)
	}
	forget(t, cluster, id, a)
	if err := h2.named(id2, a.String()); err != nil {
		t.Fatal(err)
	}
	return id
}

// A host that was declared dead and does not know it yet takes nothing back from
// who has it since, and gives it up once it knows.
func TestADeadHostTakesNothingBack(t *testing.T) {
	cluster, g := newMemory(), &gate{epoch: 1}
	h1, h2 := g.host(t, "h1", cluster), g.host(t, "h2", cluster)
	a := netip.MustParseAddr("10.1.0.9")
	id := bury(t, cluster, h1, h2, a)
	for range 2 {
		if err := h1.Verify(t.Context(), false); !errors.Is(err, kvstore.ErrConflict) {
			t.Errorf("while the mark stands: %v", err)
		}
	}
	if got := holds(t, cluster, id, a); got.Host != "h2" || len(h1.lost) > 0 {
		t.Errorf("%v is %s's, and h1 lost %v", a, got.Host, h1.lost)
	}
	if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: deadKeyOfH1}); err != nil {
		t.Fatal(err)
	}
	if err := h1.Verify(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, cluster, id, a); got.Host != "h2" || len(h1.lost) != 1 {
		t.Errorf("at last %v is %s's, and h1 lost %v", a, got.Host, h1.lost)
	}
}

// What a host has decided on before it took its mark off takes nothing back after it.
func TestADecisionDoesNotOutliveTheMark(t *testing.T) {
	cluster, g := newMemory(), &gate{epoch: 1}
	h1, h2 := g.host(t, "h1", cluster), g.host(t, "h2", cluster)
	h1.permits.notDeadSince = func(ctx context.Context) (kvstore.Op, error) {
		_, err := cluster.Txn(ctx,
			kvstore.Op{Kind: kvstore.Delete, Key: deadKeyOfH1}, kvstore.Op{Kind: kvstore.Set, Key: backKeyOfH1, Value: []byte("1")})
		return kvstore.Op{Kind: kvstore.Check, Key: backKeyOfH1}, err // as it was before
	}
	a := netip.MustParseAddr("10.1.0.9")
	id := bury(t, cluster, h1, h2, a)
	if err := h1.Verify(t.Context(), false); !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("after the mark was taken off: %v", err)
	}
	if err := h1.Verify(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, cluster, id, a); got.Host != "h2" || len(h1.lost) != 1 {
		t.Errorf("%v is %s's, and h1 lost %v", a, got.Host, h1.lost)
	}
}
