package ipam

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
)

// A pool that networks of another driver have is known from State alone. When that is
// lost it is kept if Docker has it, and this host is out of it if Docker has not,
// once Docker has said so.
func TestAPoolThatStateHasLostIsDockers(t *testing.T) {
	ctx := context.Background()
	cluster := newMemory()
	h, other := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	alone, shared := h.mustPool("10.1.0.0/24", "", "weft.id=alone"), h.mustPool("10.2.0.0/24", "", "weft.id=shared")
	if got := other.mustPool("", "", "weft.id=shared"); got != shared {
		t.Fatalf("h2 has %v", got)
	}
	running := h.mustAny(alone)
	has := func(want bool, when string) {
		t.Helper()
		for range 2 {
			if err := h.Verify(ctx, false); err != nil {
				t.Fatal(err)
			}
			h.work()
		}
		for _, id := range []space.PoolID{alone, shared} {
			got := false
			if pair, err := cluster.Get(ctx, record.PoolKey(id.Subnet)); err == nil {
				r, err := record.DecodePool(pair)
				got = err == nil && slices.Contains(r.Hosts, "h1")
			}
			if got != want {
				t.Errorf("%s: this host is in %v: %t", when, id, got)
			}
		}
	}
	h.state, h.config.Incarnation = newMemory(), "2"
	h.open()
	has(true, "before Docker was asked")
	if err := h.Keep(ctx, []netip.Prefix{alone.Subnet, shared.Subnet}); err != nil {
		t.Fatal(err)
	}
	has(true, "Docker has them")
	if a := h.mustAny(alone); a == running {
		t.Errorf("%v was handed out again", a)
	}
	h.open()
	has(true, "after a start")

	h.state, h.config.Incarnation = newMemory(), "3"
	h.open()
	if err := h.Keep(ctx, nil); err != nil {
		t.Fatal(err)
	}
	has(false, "Docker does not have them")
	if got := cluster.keys(record.PoolKey(alone.Subnet)); got != nil {
		t.Error("the pool that nobody has any more is left")
	}
}
