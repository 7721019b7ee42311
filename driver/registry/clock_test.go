package registry_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

// The clocks of hosts in a test are one and the same. What a host writes whose
// clock is wrong is written for it.

// eachSkew runs a test in a synctest bubble for clocks that are a day ahead and
// behind.
func eachSkew(t *testing.T, test func(t *testing.T, skew time.Duration)) {
	t.Helper()
	for _, skew := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, skew) })
		})
	}
}

// shift moves times in a record of the store.
func shift(t *testing.T, s kvstore.Store, key string, by time.Duration, fields ...string) {
	t.Helper()
	p, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	record := map[string]any{}
	if err := json.Unmarshal(p.Value, &record); err != nil {
		t.Fatal(err)
	}
	for _, field := range fields {
		text, _ := record[field].(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatalf("%s of %s: %v", field, key, err)
		}
		record[field] = at.Add(by)
	}
	if version, ok := record["version"].(float64); ok { // so that everybody takes it for news
		record["version"] = version + 1
	}
	value, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.CAS, Key: key, Value: value, Revision: p.Revision}); err != nil {
		t.Fatal(err)
	}
}

// A network under a chosen id comes and goes and comes again on hosts whose clocks
// are a day apart: it is the last one that counts, everywhere.
func TestANetworkThatComesAgainByAnotherClock(t *testing.T) {
	eachSkew(t, func(t *testing.T, skew time.Duration) {
		cluster := registrytest.OpenStore(t, "cluster.db")
		h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
		blue := overlay.Network{ID: "blue", Subnets: want(subnetA).Subnets}
		h1.create("d1", blue)
		h1.do("name", h1.Name(t.Context(), "blue", registry.Naming{Name: "blue"}))
		waitID(t, h2, blue)
		shift(t, cluster, "net/blue", skew, "created")
		time.Sleep(time.Second)
		h1.do("delete", h1.Delete(t.Context(), "d1"))
		time.Sleep(time.Second)
		shift(t, cluster, "net/blue", skew, "deleted")
		time.Sleep(time.Minute)
		if h1.sees("blue") || h2.sees("blue") {
			t.Fatal("it was not removed, or is back")
		}

		again := h2.create("d2", overlay.Network{ID: "blue", Subnets: want(subnetB).Subnets})
		h2.do("name", h2.Name(t.Context(), "blue", registry.Naming{Name: "blue"}))
		time.Sleep(time.Second)
		h1.restart(cluster)
		h2.restart(cluster)
		time.Sleep(10 * time.Minute)
		for _, m := range []*machine{h1, h2} {
			if got, ok := m.Network("blue"); !ok || got.VNI != again.VNI || got.Subnets[0].Prefix != subnetB {
				t.Errorf("%s has %+v, want the second one", m.name, got)
			}
		}
		if _, err := cluster.Get(t.Context(), "name/blue"); err != nil {
			t.Errorf("its name: %v", err)
		}
	})
}

// When a network was removed says nothing about one of the same name that was made
// after it.
func TestATombstoneByAnotherClockIsOfOneNetworkOnly(t *testing.T) {
	eachSkew(t, func(t *testing.T, skew time.Duration) {
		cluster := registrytest.OpenStore(t, "cluster.db")
		h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
		first := h1.create("d1", want(subnetA))
		h1.do("name", h1.Name(t.Context(), first.ID, registry.Naming{Name: "blue"}))
		waitID(t, h2, first)
		h1.do("delete", h1.Delete(t.Context(), "d1"))
		time.Sleep(time.Second)
		shift(t, cluster, "net/"+first.ID, skew, "deleted", "created")
		second := h2.create("d2", want(subnetA))
		h2.do("name", h2.Name(t.Context(), second.ID, registry.Naming{Name: "blue"}))
		h2.join("e2", second.ID, "10.1.0.5")
		time.Sleep(time.Second)
		h1.restart(cluster)
		h2.restart(cluster)
		time.Sleep(10 * time.Minute)
		for _, m := range []*machine{h1, h2} {
			if got, ok := m.Network("blue"); !ok || got.ID != second.ID || m.sees(first.ID) {
				t.Errorf("%s has %+v", m.name, m.Networks())
			}
		}
	})
}

// By whatever clock a host was declared dead, it is back when it is back.
func TestAMarkByAnotherClock(t *testing.T) {
	eachSkew(t, func(t *testing.T, skew time.Duration) {
		s := newTrio(t)
		s.h3.stop()
		time.Sleep(time.Second)
		s.h1.do("forget", s.h1.Forget(t.Context(), "h3"))
		shift(t, s.cluster, "host/h3/dead", skew, "at")
		time.Sleep(2 * reapTime)
		if has := s.has(); len(has) > 0 {
			t.Errorf("there is %v", has)
		}
		s.h3.start(s.cluster)
		time.Sleep(3 * reapTime)
		if has := s.has(); len(has) != len(s.keys) {
			t.Errorf("of the host that is back there is only %v", has)
		}
		if !s.h1.sends("h3", s.net.ID) || !s.h2.sends("h3", s.net.ID) {
			t.Error("it is not sent to")
		}
	})
}

// A host that is new waits as long as the others do until what the store had lost
// is recorded again, and no longer: when that began is by another's clock.
func TestANewHostDoesNotGoByTheClock(t *testing.T) {
	eachSkew(t, func(t *testing.T, skew time.Duration) {
		cluster := registrytest.OpenStore(t, "cluster.db")
		h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
		time.Sleep(time.Second)
		h2.stop()
		for _, key := range []string{"net/.epoch", "host/h1/doc", "host/h2/doc"} {
			if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: key}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		shift(t, cluster, "net/.epoch", skew, "at")
		time.Sleep(time.Second)
		h3 := newMachine(t, "h3", cluster)
		time.Sleep(45 * time.Second)
		for _, m := range []*machine{h1, h3} {
			if _, _, err := m.Claims().Admit(); !errors.Is(err, registry.ErrFrozen) || !strings.Contains(err.Error(), "h2 has not recorded again") {
				t.Errorf("%s may claim before h2 has said what it has: %v", m.name, err)
			}
		}
		time.Sleep(15 * time.Second) // h1 has waited long enough
		if !h1.mayClaim() || !h3.mayClaim() {
			t.Errorf("h1 may claim: %t, h3: %t", h1.mayClaim(), h3.mayClaim())
		}
		h4 := newMachine(t, "h4", cluster)
		time.Sleep(time.Second)
		if !h4.mayClaim() {
			_, _, err := h4.Claims().Admit()
			t.Errorf("one that joins now may not claim: %v", err)
		}
	})
}

// A clock that jumps while a container starts must not make its endpoint seem old:
// one that Docker does not show yet would be forgotten.
func TestAnEndpointsAgeIsNotByTheWallClock(t *testing.T) {
	h1 := newMachine(t, "h1", registrytest.OpenStore(t, "cluster.db"))
	n := h1.create("d1", want(subnetA))
	h1.join("e1", n.ID, "10.1.0.5")
	h1.do("adopt", h1.Adopt(t.Context(), endpoint("e2", n.ID, "10.1.0.6")))
	for _, id := range []string{"e1", "e2"} {
		if e, _ := h1.Endpoint(id); !strings.Contains(e.Created.String(), " m=") { // a reading of the monotonic clock
			t.Errorf("%s was created at %v", id, e.Created)
		}
	}
}
