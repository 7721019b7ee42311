package registry_test

import (
	"context"
	"errors"
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

// A host whose lease stays free is down for its peers, then dead: everything of
// its own is freed, and when it comes back it publishes it all anew.
func TestADeadHostIsReapedAndComesBack(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h1 sees e2", func() bool { return h1.peerHas(n.ID, "h2", "e2") })
	eventually(t, "h1 sees h2's lease", func() bool { return h1.hostLive("h2") })
	if err := h1.Forget(t.Context(), "h2"); err == nil {
		t.Fatal("a live host was forgotten")
	}

	h2.stop()
	eventually(t, "h1 sees h2's lease free", func() bool {
		return slices.ContainsFunc(h1.HostStates(), func(s registry.HostState) bool { return s.Name == "h2" && !s.Live })
	})
	if !h1.peerHas(n.ID, "h2", "e2") {
		t.Error("a free lease alone cost h2 its endpoints")
	}
	beat := peers.Beat{Host: "h2", Incarnation: h2.Self().Incarnation, Number: h2.Direct().Runs()<<32 + 1}
	h1.Direct().Heard(beat)
	if err := h1.Forget(t.Context(), "h2"); err == nil || !strings.Contains(err.Error(), "alive and heard") {
		t.Fatalf("a host that is heard was forgotten: %v", err)
	}
	beat.Number, beat.Rests = beat.Number+1, true
	h1.Direct().Heard(beat)
	h1.do("forget", h1.Forget(t.Context(), "h2"))
	eventually(t, "h1 has nothing of h2", func() bool { return len(h1.HostStates()) == 0 && !h1.peerHas(n.ID, "h2", "e2") })
	for _, key := range []string{"at/h2/" + n.ID, "host/h2/live"} {
		if _, err := cluster.Get(t.Context(), key); !errors.Is(err, kvstore.ErrNotFound) {
			t.Errorf("%s is still there: %v", key, err)
		}
	}
	fence := h2.Claims().Fence()
	if _, err := cluster.Txn(t.Context(), fence...); !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("a host declared dead may claim: %v", err)
	}

	h2.start(cluster)
	eventually(t, "h1 has h2 and its endpoint back", func() bool { return h1.peerHas(n.ID, "h2", "e2") })
	eventually(t, "h2 may claim again", func() bool { _, err := cluster.Txn(t.Context(), fence...); return err == nil })
}

// What the mark fences: a reaper that was overtaken by the host's return
// deletes nothing any more.
func TestReapingEndsWithTheReturn(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	paused, reached, resume := pausing(cluster, "at/h2/")
	h1, h2 := newMachine(t, "h1", paused), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	eventually(t, "h1 sees h2 attached", func() bool { return h1.attachedPeer(n.ID, "h2") })
	h2.stop()
	eventually(t, "h1 sees h2's lease free", func() bool {
		return slices.ContainsFunc(h1.HostStates(), func(s registry.HostState) bool { return s.Name == "h2" && !s.Live })
	})
	failed := make(chan error, 1)
	go func() { failed <- h1.Forget(context.Background(), "h2") }()
	<-reached // h1 has made the mark and is about to delete
	h2.start(cluster)
	eventually(t, "h2 is back", func() bool {
		_, err := cluster.Txn(t.Context(), h2.Claims().Fence()...)
		p, getErr := cluster.Get(t.Context(), "host/h2/live")
		return err == nil && getErr == nil && p.Held
	})
	close(resume)
	if err := <-failed; !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("the reaper went on: %v", err)
	}
	if _, err := cluster.Get(t.Context(), "at/h2/"+n.ID); err != nil {
		t.Errorf("h2 lost its record: %v", err)
	}
}

// pausing is the store, whose List of the prefix waits before it returns: then reached
// is closed, and resume is to be.
func pausing(store kvstore.Store, prefix string) (paused kvstore.Store, reached, resume chan struct{}) {
	reached, resume = make(chan struct{}), make(chan struct{})
	return kvtest.Around(store, func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
		a, err := do(ctx)
		if r.Method == kvtest.List && r.Key == prefix {
			close(reached)
			<-resume
		}
		return a, err
	}), reached, resume
}

func TestForgetRefuses(t *testing.T) {
	h1 := newMachine(t, "h1", registrytest.OpenStore(t, "cluster.db"))
	for _, host := range []string{"h1", "nobody"} {
		if err := h1.Forget(t.Context(), host); err == nil {
			t.Errorf("%s was forgotten", host)
		}
	}
}

// A host that was declared dead yields until it has compared all its claims,
// although the mark is gone by then and the process that took it off died.
func TestADeadHostYieldsUntilItHasCompared(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "h1 sees h2 live", func() bool { return h1.hostLive("h2") })
	before, err := h2.Claims().NotDeadSince(t.Context())
	h2.do("ask for its tenure", err)
	if _, err := cluster.Txn(t.Context(), before); err != nil {
		t.Errorf("while nothing has happened: %v", err)
	}
	h2.stop()
	eventually(t, "h2 is forgotten", func() bool { return h1.Forget(t.Context(), "h2") == nil })
	eventually(t, "h1 knows it no more", func() bool { return len(h1.HostStates()) == 0 })

	var tried atomic.Int64
	h2.verify = func(yield bool) error {
		if !yield {
			return nil // the publisher's look for lost data, before the mark is seen
		}
		tried.Add(1)
		return errors.New("it dies here")
	}
	h2.start(cluster)
	eventually(t, "h2 compares", func() bool { return tried.Load() > 0 && h2.Claims().Yields() })
	eventually(t, "h2 has a record", func() bool { return len(h1.HostStates()) > 0 })
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, believed := h1.Snapshot().Hosts["h2"]; believed {
			t.Fatal("h1 believes what h2 has before h2 has compared it")
		}
	}
	h2.stop()
	if _, err := cluster.Get(t.Context(), "host/h2/dead"); !errors.Is(err, kvstore.ErrNotFound) {
		t.Fatalf("the mark is still there: %v", err)
	}
	if _, err := cluster.Txn(t.Context(), before); !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("what h2 decided on before holds after the mark: %v", err)
	}
	var yielded atomic.Int64
	h2.verify = func(yield bool) error {
		if yield {
			yielded.Add(1)
		}
		return nil
	}
	h2.start(cluster)
	eventually(t, "h2 has compared", func() bool { return yielded.Load() > 0 && !h2.Claims().Yields() })
	eventually(t, "h1 believes it", func() bool { _, believed := h1.Snapshot().Hosts["h2"]; return believed })
	h2.restart(cluster)
	if h2.Claims().Yields() {
		t.Error("h2 yields although it has compared all its claims")
	}
}
