package registry_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

func (m *machine) mayClaim() bool {
	checks, _, err := m.Claims().Admit()
	return err == nil && len(checks) == 1
}

// After the store was wiped, hosts claim nothing until each of those they know has
// recorded again what it has.
func TestAWipedStoreFreezesClaims(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2, h3 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster), newMachine(t, "h3", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "all may claim and know each other", func() bool {
		return h1.mayClaim() && h2.mayClaim() && h3.mayClaim() && len(h1.HostStates()) == 2 && h1.peerHas(n.ID, "h2", "e2")
	})
	h2.stop() // its record is not made again
	pairs, _, err := cluster.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: p.Key}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "h1 has recorded itself and its network again", func() bool {
		_, err := cluster.Get(t.Context(), "host/h1/doc")
		_, err2 := cluster.Get(t.Context(), "net/"+n.ID)
		return err == nil && err2 == nil
	})
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if h1.mayClaim() || h3.mayClaim() {
			t.Fatal("a host may claim although h2 has not recorded again what it has")
		}
	}
	_, _, err = h1.Claims().Admit()
	if !errors.Is(err, registry.ErrFrozen) || !strings.Contains(err.Error(), "host h2 has not recorded again") {
		t.Errorf("the refusal is %v", err)
	}
	if by := h1.Claims().Claimed(subnetA)[netip.MustParseAddr("10.1.0.6")]; by != "h2" {
		t.Errorf("h1 believes that h2's address is %q's", by)
	}
	h2.start(cluster)
	eventually(t, "all may claim again", func() bool { return h1.mayClaim() && h2.mayClaim() && h3.mayClaim() })
	eventually(t, "h1 still has h2's endpoint", func() bool { return h1.peerHas(n.ID, "h2", "e2") })
}

// A host that was alone until now has seen nothing of the cluster that it joins.
func TestJoiningACluster(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	eventually(t, "h1 may claim", h1.mayClaim)
	epochOf := func() uint64 {
		_, n, err := h1.Claims().Admit()
		if err != nil {
			t.Errorf("h1 may not claim: %v", err)
		}
		return n
	}
	before := epochOf()

	own := registrytest.OpenStore(t, "own.db")
	h2 := &machine{t: t, name: "h2", state: registrytest.OpenStore(t, "h2.db"), alone: true}
	h2.start(own)
	n := h2.create("d2", want(subnetA))
	eventually(t, "h2 may claim, alone", h2.mayClaim)
	eventually(t, "its store has its network", func() bool {
		_, err := own.Get(t.Context(), "net/"+n.ID)
		return err == nil
	})
	h2.stop()
	h2.alone = false
	h2.start(cluster)
	t.Cleanup(func() { h2.stop() })
	eventually(t, "h2 may claim, in the cluster", h2.mayClaim)
	eventually(t, "h1 has its network", func() bool { return h1.sees(n.ID) })
	if after := epochOf(); after != before {
		t.Errorf("the store has lost data, it is said: epoch %d, was %d", after, before)
	}
}

// A snapshot from before a network was removed does not bring it back, and a host
// that was away meanwhile does not either.
func TestARestoredNetworkStaysRemoved(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "blue"}))
	waitID(t, h2, n)
	before, _, err := cluster.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	eventually(t, "it is gone", func() bool { return !h1.sees(n.ID) && !h2.sees(n.ID) })
	for _, p := range before {
		if strings.HasPrefix(p.Key, "net/") || strings.HasPrefix(p.Key, "name/") || strings.HasPrefix(p.Key, "vni/") {
			if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: p.Key, Value: p.Value}); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "its name is free again", func() bool {
		_, err := cluster.Get(t.Context(), "name/blue")
		return errors.Is(err, kvstore.ErrNotFound)
	})
	if h1.sees(n.ID) || h2.sees(n.ID) {
		t.Error("a removed network is back")
	}
}

// A process that starts while claims wait compares its own, in whichever order it
// reads the records.
func TestAProcessThatStartsInAnUnsettledEpochRecordsAgain(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "both may claim and know each other", func() bool {
		return h1.mayClaim() && h2.mayClaim() && len(h1.HostStates()) == 1
	})
	h2.stop()
	for _, key := range []string{"net/.epoch", "host/h1/doc", "host/h2/doc"} {
		if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	waitsForH2 := func() bool {
		_, _, err := h1.Claims().Admit()
		return err != nil && strings.Contains(err.Error(), "host h2 has not recorded again")
	}
	eventually(t, "h1 waits for h2", waitsForH2)
	h1.stop()
	h1.start(kvtest.Before(cluster, func(_ context.Context, r kvtest.Request) error {
		if r.Method == kvtest.List && r.Key == "net/" {
			time.Sleep(time.Second)
		}
		return nil
	}))
	eventually(t, "h1 waits for h2 again, and not for itself", waitsForH2)
	h2.start(cluster)
}
