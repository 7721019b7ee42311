package registry_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// leased has somebody hold the host's lease, as a process that was killed does
// until its session ends, and gives what lets go of it.
func leased(t *testing.T, cluster kvstore.Store, host string) (free func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	held, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = cluster.Hold(ctx, host, "host/"+host+"/live", []byte("old"), 10*time.Second, func() { close(held) })
	}()
	<-held
	free = func() { cancel(); <-done }
	t.Cleanup(free)
	return free
}

// compared is how often the host had compared its claims once it was at rest: it
// may claim, and a while ago it had compared them as often.
func (m *machine) compared() int64 {
	m.t.Helper()
	times, since := int64(0), time.Now()
	eventually(m.t, m.name+" is at rest", func() bool {
		if now := m.verified.Load(); now != times || !m.mayClaim() {
			times, since = now, time.Now()
		}
		return times > 0 && time.Since(since) > 300*time.Millisecond
	})
	return times
}

// A store that was wiped while a host waited for its lease has none of its
// claims, and the lease is free at once.
func TestClaimsAreComparedWithAWipedStore(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	leased(t, cluster, "h1")
	h1 := newMachine(t, "h1", cluster)
	has := func(key string) bool {
		_, err := cluster.Get(t.Context(), key)
		return err == nil
	}
	eventually(t, "h1 has recorded itself", func() bool { return has("host/h1/doc") })
	before := h1.compared()
	if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: "host/h1/doc"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "h1 has compared its claims again", func() bool { return has("host/h1/doc") && h1.verified.Load() > before })
}

// A snapshot may hold the host's lease, so that it is not lost with the claims
// that were made after it.
func TestClaimsAreComparedWithARestoredStore(t *testing.T) {
	var restored atomic.Bool // lists and watches show an older snapshot's revisions
	cluster := kvtest.Around(registrytest.OpenStore(t, "cluster.db"), func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
		a, err := do(ctx)
		if restored.Load() && (r.Method == kvtest.List || r.Method == kvtest.Wait) {
			for i := range a.Pairs {
				a.Pairs[i].Revision = 1
			}
		}
		return a, err
	})
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "both know each other", func() bool { return len(h1.Snapshot().Hosts) == 1 && len(h2.Snapshot().Hosts) == 1 })
	before := h1.compared()
	restored.Store(true)
	h2.create("d2", want(subnetA)) // has the watch look
	eventually(t, "h1 has compared its claims again", func() bool { return h1.verified.Load() > before })
}

// What is restored may have been written over before the watch shows it.
func TestClaimsAreComparedWhenTheOwnRecordIsNotAsWritten(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	n := h1.create("d1", want(subnetA))
	eventually(t, "h1 has recorded the network", func() bool {
		_, err := cluster.Get(t.Context(), "at/h1/"+n.ID)
		return err == nil
	})
	doc, err := cluster.Get(t.Context(), "host/h1/doc")
	if err != nil {
		t.Fatal(err)
	}
	before := h1.compared()
	if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: doc.Key, Value: append(doc.Value, ' ')}); err != nil {
		t.Fatal(err)
	}
	h1.join("e1", n.ID, "10.1.0.5")
	eventually(t, "h1 has compared its claims again", func() bool { return h1.verified.Load() > before })
	eventually(t, "h1 has recorded its endpoint", func() bool {
		at, err := cluster.Get(t.Context(), "at/h1/"+n.ID)
		return err == nil && strings.Contains(string(at.Value), `"e1"`)
	})
}
