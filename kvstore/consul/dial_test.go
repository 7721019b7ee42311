package consul_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
)

// All connections are made by Dial, those of an examination too.
func TestDialMakesAllConnections(t *testing.T) {
	t.Parallel()
	var dialled atomic.Int64
	cfg := config(t, "192.0.2.1:8500") // nobody's: only Dial knows the way
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "192.0.2.1:8500" {
			t.Errorf("Dial was asked for %s", address)
		}
		dialled.Add(1)
		return new(net.Dialer).DialContext(ctx, network, shared.Addr)
	}
	s := open(t, cfg)
	txn(t, s, set("p/x", "1"))
	before := dialled.Load()
	if before == 0 {
		t.Error("a transaction needed no connection")
	}
	if h, err := s.Examine(t.Context(), "doctor/h1"); err != nil || !h.Answers() || dialled.Load() == before {
		t.Errorf("an examination: %+v, %v, with %d connections by Dial", h, err, dialled.Load()-before)
	}
}
