package ipam

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
)

// A host that was the first in a small subnet leaves nearly all of it to others, and
// gives back what it keeps as soon as it hears that they have used up the rest. Who
// asks for an address just then waits for that.
func TestASmallSubnetIsShared(t *testing.T) {
	cluster := newMemory()
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	id := h1.network("x", "10.1.0.0/28", "")
	h1.work()
	kept := h1.stock(id)
	if kept < 1 || kept > 3 {
		t.Fatalf("of 13 addresses, the first host keeps %d", kept)
	}
	h2.mirror("x", overlay.Subnet{Prefix: id.Subnet, Gateway: netip.MustParseAddr("10.1.0.1")})
	hear := func() { // what h1 has, on h2
		now := space.Set{}
		for _, c := range h1.Claims(id.Subnet) {
			now[c.Addr] = struct{}{}
		}
		for i := range space.Usable(id.Subnet).Size() {
			a := space.Usable(id.Subnet).At(i)
			if now.Has(a) {
				h2.networks.says("h1", a)
			} else {
				h2.networks.says("", a)
			}
		}
	}
	hear()
	for range 13 - kept {
		a := h2.mustAny(id)
		h1.networks.says("h2", a)
		h1.networks.own(a, "container c on host h2")
	}
	ended := make(chan struct{})
	defer func() { <-ended }()
	go func() {
		defer close(ended)
		for h1.stock(id) > 0 {
			<-h1.Changed()
		}
		hear()
	}()
	h1.start()
	for range kept {
		if _, err := h2.any(id); err != nil {
			t.Error(err)
		}
	}
	_, err := h2.any(id)
	wantError(t, err, `network "x" (10.1.0.0/28) has no free address`)
}

// Where a hundred hosts could have a container of a /24, those that have one start the
// next without the store.
func TestAHostWithContainersHasStockAmongManyHosts(t *testing.T) {
	var down atomic.Bool
	h := newHost(t, "h1", cutOff(newMemory(), &down))
	h.networks.hosts = 100
	id := h.network("x", "10.1.0.0/24", "")
	h.work()
	if got := h.stock(id); got != 0 {
		t.Errorf("without a container %d addresses are kept", got)
	}
	h.networks.endpoint(h.mustAny(id))
	h.work()
	if got := h.stock(id); got != 2 {
		t.Fatalf("with a container %d addresses are kept, want 2", got)
	}
	down.Store(true)
	h.mustAny(id)
}

// A host that is told to keep many claims them, in as many transactions as it takes.
func TestAStockOfAnySizeIsFilled(t *testing.T) {
	for _, ahead := range []int{0, 1, stock.Max} {
		h := newHost(t, "h1", newMemory())
		h.config.Stock = ahead
		h.open()
		id := h.network("n", "10.1.0.0/16", "")
		for range stock.Max / atOnce {
			h.work()
		}
		if got := h.stock(id); got != ahead {
			t.Errorf("--stock %d: %d in stock", ahead, got)
		}
		a := h.mustAny(id)
		h.release(id, a)
		h.work()
		if got := h.stock(id); got < ahead || ahead == 0 && got > 0 {
			t.Errorf("--stock %d: %d in stock after an address came back", ahead, got)
		}
	}
}
