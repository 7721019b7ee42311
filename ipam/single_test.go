package ipam

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore/bolt"
)

// A host without a cluster has one file for both stores.
func TestSingleHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	h := newHost(t, "h1", newMemory())
	open := func() *bolt.Store {
		store, err := bolt.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		h.state, h.cluster = store, store
		h.open()
		return store
	}
	store := open()
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	a := h.mustAny(id)
	h.networks.own(a, "a container")

	for range 2 { // stop, start
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		store = open()
		h.work()
		wantError(t, h.named(id, a.String()), "address "+a.String()+" is in use by a container")
		if b := h.mustAny(id); a == b {
			t.Fatalf("%v handed out twice", a)
		} else {
			h.release(id, b)
		}
	}
	h.release(id, a)
	if err := h.ReleasePool(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	h.networks.remove("n")
	h.work()
	pairs, _, err := store.List(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		if p.Key != record.PoolSeq {
			t.Errorf("left: %s", p.Key)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
