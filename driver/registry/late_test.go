package registry_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

// late is a store that keeps one write of endpoints back: who wrote it is told
// that there was no answer, and it is carried out when others have followed.
type late struct {
	kvstore.Store
	mu   sync.Mutex
	want bool // keep the next one
	kept []kvstore.Op
}

func (s *late) Txn(ctx context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	s.mu.Lock()
	if s.want && strings.HasPrefix(ops[0].Key, "at/") {
		// The host's own record goes last, perhaps in a transaction of its own.
		s.want, s.kept = false, slices.DeleteFunc(slices.Clone(ops), func(o kvstore.Op) bool { return o.Kind != kvstore.Set })
		s.mu.Unlock()
		return nil, kvstore.ErrUnavailable
	}
	s.mu.Unlock()
	return s.Store.Txn(ctx, ops...)
}

// A write that was given up and is carried out after its successors must not
// stand for long: peers would believe in a container that is gone, and know
// nothing of one that is there.
func TestAWriteThatComesLate(t *testing.T) {
	cluster := &late{Store: registrytest.OpenStore(t, "cluster.db")}
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.join("e1", n.ID, "10.1.0.5")
	eventually(t, "h2 sees e1", func() bool { return h2.peerHas(n.ID, "h1", "e1") })

	cluster.mu.Lock()
	cluster.want = true
	cluster.mu.Unlock()
	h1.do("delete", h1.DeleteEndpoint(t.Context(), "e1"))
	eventually(t, "a write is kept back", func() bool {
		cluster.mu.Lock()
		defer cluster.mu.Unlock()
		return len(cluster.kept) > 0
	})
	h1.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h2 sees e2", func() bool { return h2.peerHas(n.ID, "h1", "e2") })
	if _, err := cluster.Store.Txn(t.Context(), cluster.kept...); err != nil {
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
