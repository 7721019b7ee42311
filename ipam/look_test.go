package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// What was claimed in the moment in which the store turns out to have lost data is
// nobody's soon, by name or not.
func TestNothingComesOfAClaimThatFindsALoss(t *testing.T) {
	for _, request := range []AddressRequest{{Addr: netip.MustParseAddr("10.1.0.200"), Endpoint: true}, {}} {
		t.Run(fmt.Sprint(request.Addr), func(t *testing.T) {
			t.Parallel()
			cluster, g := newMemory(), &gate{epoch: 1}
			h := g.host(t, "h1", cluster)
			lost := false
			h.permits.look = func(context.Context) error {
				if !lost {
					return nil
				}
				err := errors.New("the store has lost data")
				g.set(err)
				return err
			}
			h.open()
			request.Pool = h.network("n", "10.1.0.0/24", "10.1.0.0/25")
			h.work()
			for range h.stock(request.Pool) {
				h.mustAny(request.Pool)
			}
			had := cluster.keys(record.AddrPrefix)
			lost = true
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if a, err := h.RequestAddress(ctx, request); err == nil || !strings.Contains(err.Error(), "the store has lost data") {
				t.Fatalf("%v, %v", a, err)
			}
			if got := cluster.keys(record.AddrPrefix); len(got) <= len(had) {
				t.Error("nothing was claimed")
			}
			h.work()
			if diff := cmp.Diff(had, cluster.keys(record.AddrPrefix)); diff != "" {
				t.Errorf("the cluster has (-want +got):\n%s", diff)
			}
		})
	}
}

// Who is refused since the store seemed to have lost data is served if that is
// settled within the time that Docker waits.
func TestAClaimThatFindsALossIsRepeated(t *testing.T) {
	t.Parallel()
	for what, request := range map[string]func(*host, space.PoolID) error{
		"any address":     func(h *host, id space.PoolID) error { _, err := h.any(id); return err },
		"a named address": func(h *host, id space.PoolID) error { return h.named(id, "10.1.0.200") },
		"a pool":          func(h *host, _ space.PoolID) error { _, err := h.pool("10.2.0.0/24", ""); return err },
		"a group's pool":  func(h *host, _ space.PoolID) error { _, err := h.pool("10.3.0.0/24", "", "weft.id=lan"); return err },
		"a group": func(h *host, _ space.PoolID) error {
			newHost(t, "h2", h.cluster).mustPool("10.4.0.0/24", "", "weft.id=lan")
			_, err := h.pool("", "", "weft.id=lan")
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			g := &gate{epoch: 1}
			h := g.host(t, "h1", newMemory())
			looks, lost := 0, false
			h.permits.look = func(context.Context) error {
				if !lost {
					return nil
				}
				looks++
				if looks > 1 {
					return nil
				}
				err := errors.New("the store has lost data")
				g.set(err)
				time.AfterFunc(50*time.Millisecond, func() { g.set(nil) })
				return err
			}
			h.open()
			id := h.network("n", "10.1.0.0/24", "10.1.0.0/25")
			lost = true
			if err := request(h, id); err != nil || looks != 2 {
				t.Errorf("after %d looks: %v", looks, err)
			}
		})
	}
}

// A store that does not answer a look is not waited for.
func TestALookWithoutAnAnswerIsNotRepeated(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	h.permits.look = func(context.Context) error { return errCut }
	h.open()
	began := time.Now()
	if _, err := h.pool("10.1.0.0/24", ""); !errors.Is(err, errCut) || time.Since(began) > kvstore.Patience/2 {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// A pool that was made or joined in the moment in which the store turns out to have
// lost data is refused, and nobody's soon. A group's is not joined in a former epoch.
func TestNothingComesOfAPoolThatFindsALoss(t *testing.T) {
	t.Parallel()
	cluster, g := newMemory(), &gate{epoch: 1}
	other := newHost(t, "h2", cluster)
	lan := other.mustPool("10.9.0.0/24", "", "weft.id=lan")
	h := g.host(t, "h1", cluster)
	h.permits.look = func(context.Context) error {
		err := errors.New("the store has lost data")
		g.set(err)
		return err
	}
	h.open()
	had, _, _ := cluster.List(t.Context(), record.PoolKey(lan.Subnet))
	try := func(r PoolRequest, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		id, err := h.RequestPool(ctx, r)
		if err == nil {
			t.Errorf("got %v", id)
		}
		wantError(t, err, want)
		g.set(nil)
		h.work()
		if diff := cmp.Diff([]string{record.PoolSeq, record.PoolKey(lan.Subnet)}, cluster.keys(record.PoolPrefix)); diff != "" {
			t.Errorf("the cluster has (-want +got):\n%s", diff)
		}
		now, _, _ := cluster.List(t.Context(), record.PoolKey(lan.Subnet))
		if diff := cmp.Diff(string(had[0].Value), string(now[0].Value)); diff != "" {
			t.Errorf("the group's record (-want +got):\n%s", diff)
		}
		if got := h.state.(*memory).keys(""); got != nil {
			t.Errorf("this host has %v", got)
		}
	}
	group := map[string]string{"weft.id": "lan"}
	try(PoolRequest{}, "the store has lost data")
	try(PoolRequest{Subnet: netip.MustParsePrefix("10.1.0.0/24")}, "the store has lost data")
	try(PoolRequest{Options: group}, "the store has lost data")
	h.permits.look = nil
	h.open()
	g.mu.Lock()
	g.checks = []kvstore.Op{{Kind: kvstore.Check, Key: "net/.epoch", Revision: 1 << 40}}
	g.mu.Unlock()
	try(PoolRequest{Options: group}, "the store has lost data")
}

// A claim that a restored snapshot brings back is not used: not while claims wait, nor
// if another host says that it has the address, nor if this host has not noticed that
// the store has lost data.
func TestABroughtBackClaimIsNotUsed(t *testing.T) {
	a := netip.MustParseAddr("10.1.0.9")
	refused := errors.New("the store has lost data")
	for _, test := range []struct {
		what    string
		when    func(h *host, g *gate)
		deleted bool
	}{
		{"claims wait", func(_ *host, g *gate) { g.set(refused) }, true},
		{"another host has it", func(h *host, _ *gate) { h.networks.says("h2", a) }, true},
		{"a new epoch has begun", func(_ *host, g *gate) {
			g.checks = []kvstore.Op{{Kind: kvstore.Check, Key: "net/.epoch", Revision: 1 << 40}}
		}, false},
		{"a look finds the loss", func(h *host, _ *gate) {
			h.permits.look = func(context.Context) error { return refused }
			h.open()
		}, false},
	} {
		t.Run(test.what, func(t *testing.T) {
			cluster, g := newMemory(), &gate{epoch: 1}
			h := g.host(t, "h1", cluster)
			id := h.network("n", "10.1.0.0/24", "10.1.0.128/25")
			h.work()
			old := record.Encode(claim.Holder{Host: "h1", Incarnation: h.config.Incarnation})
			if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: record.AddrKey(id.Subnet, a), Value: old}); err != nil {
				t.Fatal(err)
			}
			test.when(h, g)
			if err := h.Verify(t.Context(), false); (err == nil) != test.deleted {
				t.Error(err)
			}
			if _, known := h.pools[id.Subnet].claims[a]; known {
				t.Errorf("%v is in stock", a)
			}
			if got := holds(t, cluster, id, a); (got.Host == "") != test.deleted {
				t.Errorf("%v is %+v's", a, got)
			}
		})
	}
}

// An address in use is not given up for another host's claim that a restored
// snapshot has brought back, also if this host has not noticed that the store has lost
// data. Without a loss it is.
func TestAnAddressInUseIsNotLostToTheChangesOfALoss(t *testing.T) {
	a := netip.MustParseAddr("10.1.0.9")
	for _, test := range []struct {
		what string
		when func(h *host, g *gate)
		lost bool
	}{
		{"claims wait", func(_ *host, g *gate) { g.set(errors.New("the store has lost data")) }, false},
		{"a new epoch has begun", func(_ *host, g *gate) { g.checks[0].Revision = 1 << 40 }, false},
		{"a look finds the loss", func(h *host, _ *gate) {
			h.permits.look = func(context.Context) error { return errors.New("the store has lost data") }
			h.open()
		}, false},
		{"nothing was lost", func(*host, *gate) {}, true},
	} {
		t.Run(test.what, func(t *testing.T) {
			cluster := newMemory()
			g := &gate{epoch: 1, checks: []kvstore.Op{{Kind: kvstore.Check, Key: "net/.epoch"}}} // there is none
			h := g.host(t, "h1", cluster)
			id := h.network("n", "10.1.0.0/24", "")
			if err := h.named(id, a.String()); err != nil {
				t.Fatal(err)
			}
			h.networks.own(a, "container a on host h1")
			old := record.Encode(claim.Holder{Host: "h2", Incarnation: "0", Birth: claim.Birth{Epoch: 1, Revision: 1}})
			if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: record.AddrKey(id.Subnet, a), Value: old}); err != nil {
				t.Fatal(err)
			}
			test.when(h, g)
			for range 2 {
				if err := h.Verify(t.Context(), false); err != nil && !strings.Contains(err.Error(), "whose addresses") {
					t.Error(err)
				}
			}
			if (len(h.lost) > 0) != test.lost {
				t.Errorf("h1 has lost %v", h.lost)
			}
		})
	}
}
