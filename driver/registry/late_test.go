package registry_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// A write that was given up and is carried out after its successors must not
// stand for long: peers would believe in a container that is gone, and know
// nothing of one that is there.
func TestAWriteThatComesLate(t *testing.T) {
	store := registrytest.OpenStore(t, "cluster.db")
	var keep atomic.Bool // the next write of endpoints: who wrote it is told that there was no answer
	kept := make(chan []kvstore.Op, 1)
	cluster := kvtest.Before(store, func(_ context.Context, r kvtest.Request) error {
		if r.Method == kvtest.Txn && strings.HasPrefix(r.Ops[0].Key, "at/") && keep.CompareAndSwap(true, false) {
			// The host's own record goes last, perhaps in a transaction of its own.
			kept <- slices.DeleteFunc(slices.Clone(r.Ops), func(o kvstore.Op) bool { return o.Kind != kvstore.Set })
			return kvstore.ErrUnavailable
		}
		return nil
	})
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.join("e1", n.ID, "10.1.0.5")
	eventually(t, "h2 sees e1", func() bool { return h2.peerHas(n.ID, "h1", "e1") })

	keep.Store(true)
	h1.do("delete", h1.DeleteEndpoint(t.Context(), "e1"))
	eventually(t, "a write is kept back", func() bool { return len(kept) > 0 })
	h1.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h2 sees e2", func() bool { return h2.peerHas(n.ID, "h1", "e2") })
	if _, err := store.Txn(t.Context(), <-kept...); err != nil {
		t.Fatal(err)
	}
	stored := func() bool {
		p, err := cluster.Get(t.Context(), "at/h1/"+n.ID)
		return err == nil && strings.Contains(string(p.Value), `"e2"`)
	}
	if stored() {
		t.Fatal("the late write changed nothing")
	}
	for end := time.Now().Add(6 * time.Second); !stored(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the late write stands")
		}
	}
}
