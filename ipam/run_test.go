package ipam

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam/stock"
)

// start runs Run until the test ends.
func (h *host) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run: %v", err)
		}
	})
}

// within waits for a condition that is told by Changed.
func (h *host) within(d time.Duration, what string, ok func() bool) {
	h.t.Helper()
	timeout := time.After(d)
	for !ok() {
		select {
		case <-h.Changed():
		case <-timeout:
			h.t.Fatalf("%s: not within %v", what, d)
		}
	}
}

func TestStockIsThereSoonAfterTheNetwork(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	h.config.Now = time.Now
	h.open()
	h.start()
	begin := time.Now()
	id := h.network("n", "10.1.0.0/16", "")
	h.within(time.Second, "stock", func() bool { return h.stock(id) == stock.Default })
	t.Logf("stock after %v", time.Since(begin).Round(time.Millisecond))
	for range 8 * stock.Default {
		h.mustAny(id)
		h.within(time.Second, "refill", func() bool { return h.stock(id) > 0 })
	}
}

func TestRunCatchesUpOnceTheStoreIsBack(t *testing.T) {
	cluster := newMemory()
	var down atomic.Bool
	h := newHost(t, "h1", cutOff(cluster, &down))
	h.config.Now = time.Now
	h.open()
	h.start()
	id := h.network("n", "10.1.0.0/16", "")
	h.within(time.Second, "stock", func() bool { return h.stock(id) == stock.Default })
	down.Store(true)
	for range stock.Default {
		h.mustAny(id)
	}
	time.Sleep(100 * time.Millisecond) // for some failures
	down.Store(false)
	h.within(lookTime, "stock after the outage", func() bool { return h.stock(id) >= stock.Default })
}
