package registry_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// hostLive says whether the other host has its lease, as far as this one knows.
func (m *machine) hostLive(host string) bool {
	return slices.ContainsFunc(m.HostStates(), func(s registry.HostState) bool { return s.Name == host && s.Live })
}

// A host whose machine shuts down is down at once, with its names, and keeps
// what it has; its next process is back at once.
func TestAMachineThatShutsDownSaysSo(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h1 sees e2", func() bool { return h1.peerHas(n.ID, "h2", "e2") })
	up := func() bool { _, up := h1.Snapshot().Hosts["h2"]; return up }
	live := func() bool { return h1.hostLive("h2") }
	eventually(t, "h2 is live", live)

	h2.stop()
	if h1.Snapshot().Silent["h2"] || !up() {
		t.Error("a weft that only ended is taken for a machine that went down")
	}
	h2.do("say so", h2.Departure().Depart(t.Context()))
	began := time.Now()
	eventually(t, "h2 is down for h1", func() bool { return !up() && h1.Snapshot().Silent["h2"] })
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("that took %s", took)
	}
	if !h1.peerHas(n.ID, "h2", "e2") {
		t.Error("it lost its endpoint")
	}
	h2.start(cluster)
	eventually(t, "h2 is back", func() bool { return up() && live() && !h1.Snapshot().Silent["h2"] })
}

// Containers run on without weft: they are still sent to, and keep their
// addresses however long that takes.
func TestAWeftThatEndsLeavesItsContainersReachable(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h1 sees e2", func() bool { return h1.peerHas(n.ID, "h2", "e2") })
	h2.stop()
	h2.do("say so", h2.Departure().Rest(t.Context()))
	h1.stop()
	h1.reap = 9 * time.Second // soon after a host is down
	h1.start(cluster)
	h1.create("d1", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	up := func() bool { _, up := h1.Snapshot().Hosts["h2"]; return up }
	began := time.Now()
	for !h1.Snapshot().Silent["h2"] && time.Since(began) < 15*time.Second {
		time.Sleep(50 * time.Millisecond)
	}
	if took := time.Since(began); took < 7*time.Second || took > 12*time.Second {
		t.Errorf("its names are withdrawn after %s", took)
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !up() || !h1.peerHas(n.ID, "h2", "e2") {
			t.Fatal("it is sent to no more, or has lost its endpoint")
		}
	}
	h2.start(cluster)
	eventually(t, "h2 is back, and was sent to all the time", func() bool {
		if !up() {
			t.Fatal("it is sent to no more since it is back")
		}
		return h1.hostLive("h2") && !h1.Snapshot().Silent["h2"]
	})
	_, err := h2.Leave("e2")
	h2.do("leave", err)
	h2.stop()
	h2.do("say nothing", h2.Departure().Rest(t.Context()))
	doc, err := cluster.Get(t.Context(), "host/h2/doc")
	if err != nil || strings.Contains(string(doc.Value), "rests") {
		t.Errorf("a host without containers says that they run on: %s, %v", doc.Value, err)
	}
}

// A weft that is ended in the middle of a write says so no less: the write was
// broken off here, which is no fault of the store, and may come in between.
func TestAWeftThatEndsInTheMiddleOfAWriteSaysSo(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	var slow atomic.Bool // every write is kept until its client gives up
	var kept atomic.Pointer[[]kvstore.Op]
	mine := kvtest.Around(cluster, func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
		if r.Method == kvtest.Txn && slow.Load() {
			kept.Store(&r.Ops)
			<-ctx.Done()
			return kvtest.Answer{}, ctx.Err()
		}
		a, err := do(ctx)
		if r.Method == kvtest.Get {
			if ops := kept.Swap(nil); ops != nil { // it is carried out behind a look at a record
				if _, err := cluster.Txn(ctx, *ops...); err != nil {
					return kvtest.Answer{}, err
				}
			}
		}
		return a, err
	})
	h1 := newMachine(t, "h1", mine)
	n := h1.create("d1", want(subnetA))
	h1.join("e1", n.ID, "10.1.0.5")
	eventually(t, "all is published", func() bool {
		p, err := cluster.Get(t.Context(), "at/h1/"+n.ID)
		return err == nil && strings.Contains(string(p.Value), "10.1.0.5") && h1.Contact().Err == nil
	})
	slow.Store(true)
	h1.join("e2", n.ID, "10.1.0.6")
	eventually(t, "a write is under way", func() bool { return kept.Load() != nil })
	h1.stop()
	if err := h1.Contact().Err; err != nil {
		t.Errorf("the store is said not to answer: %v", err)
	}
	slow.Store(false)
	h1.do("say so", h1.Departure().Rest(t.Context()))
	doc, err := cluster.Get(t.Context(), "host/h1/doc")
	if err != nil || !strings.Contains(string(doc.Value), "rests") {
		t.Errorf("it did not say that its containers run on: %s, %v", doc.Value, err)
	}
}

// The word is heard directly too, for one that the store tells later; and holds
// no longer than the lease that the host had then.
func TestAwayByPush(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	live := func() bool { return h1.hostLive("h2") }
	eventually(t, "h2 is live", live)
	beat := peers.Beat{Host: "h2", Incarnation: h2.Self().Incarnation, Number: h2.Direct().Runs()<<32 + 1}
	h1.Direct().Heard(beat)
	beat.Number, beat.Rests, beat.Away = beat.Number+1, true, true
	h1.Direct().Heard(beat)
	if !h1.Snapshot().Silent["h2"] {
		t.Error("the names of a host that has gone away are not withdrawn")
	}
	h2.restart(cluster) // and no beat arrives
	eventually(t, "h2's new lease counts for more", func() bool { return live() && !h1.Snapshot().Silent["h2"] })
}
