package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// A network that was removed while a container of this host uses it comes back,
// also if the store has lost the tombstone before this host could write.
func TestReviveWithoutTheTombstone(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	var closed atomic.Bool // to h1's writes
	mine := kvtest.Before(cluster, func(_ context.Context, r kvtest.Request) error {
		if r.Method == kvtest.Txn && closed.Load() {
			return kvstore.ErrUnavailable
		}
		return nil
	})
	h1 := &machine{t: t, name: "h1", state: registrytest.OpenStore(t, "h1.db")}
	h1.start(mine)
	t.Cleanup(func() { h1.stop() })
	n := h1.create("d1", want(subnetA))
	h1.join("e1", n.ID, "10.1.0.5")
	key := "net/" + n.ID

	closed.Store(true)
	gone := n
	gone.Deleted, gone.Version = time.Now(), n.Version+1
	value, err := json.Marshal(gone)
	h1.do("encode", err)
	_, err = cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: key, Value: value})
	h1.do("remove", err)
	eventually(t, "h1 knows the tombstone", func() bool { got, _ := h1.OfDocker("d1"); return !got.Deleted.IsZero() })
	_, err = cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: key})
	h1.do("lose the tombstone", err)
	closed.Store(false)

	eventually(t, "the network is recorded again, and the store answers", func() bool {
		p, err := cluster.Get(t.Context(), key)
		var got overlay.Network
		return err == nil && json.Unmarshal(p.Value, &got) == nil && got.Deleted.IsZero() && h1.Contact().Err == nil
	})
	if vni, err := cluster.Get(t.Context(), fmt.Sprintf("vni/%d", n.VNI)); err != nil || string(vni.Value) != n.ID {
		t.Errorf("its VNI is %q's, %v", vni.Value, err)
	}
}

// What another host has written meanwhile is an answer of the store's.
func TestAConflictIsAnAnswer(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	for _, m := range []*machine{h1, h2} {
		eventually(t, m.name+" has asked the store", func() bool { return m.Contact().Err == nil })
	}
	for range 5 {
		n := h1.create("d1", want(subnetA))
		h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
		var both sync.WaitGroup
		both.Go(func() { h1.do("delete", h1.Delete(t.Context(), "d1")) })
		both.Go(func() { h2.do("delete", h2.Delete(t.Context(), "d2")) })
		both.Wait()
		eventually(t, "it is gone, and the store answers all the time", func() bool {
			for _, m := range []*machine{h1, h2} {
				if err := m.Contact().Err; err != nil {
					t.Fatalf("%s: the store does not answer: %v", m.name, err)
				}
			}
			return !h1.sees(n.ID) && !h2.sees(n.ID)
		})
	}
}
