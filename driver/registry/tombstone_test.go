package registry_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

// What is left of removed networks goes after a month, on each host and in the store,
// and nobody takes that for a loss. What lives stays.
func TestTombstonesHaveAnEnd(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	stays := h1.create("stays", want(subnetB))
	h1.do("name", h1.Name(t.Context(), stays.ID, registry.Naming{Name: "stays"}))
	var last overlay.Network
	for i := range kvstore.MaxOps + 5 {
		docker := fmt.Sprintf("d%d", i)
		last = h1.create(docker, want(subnetA))
		h1.do("delete", h1.Delete(t.Context(), docker))
	}
	tombstones := func(m *machine) int { return len(m.Tombstones()) }
	for _, m := range []*machine{h1, h2} {
		eventually(t, m.name+" knows of all removals", func() bool { return tombstones(m) == kvstore.MaxOps+5 })
	}
	// Who sees in the store what came after the removals has seen those there too.
	for _, pair := range [][2]*machine{{h1, h2}, {h2, h1}} {
		by, name := pair[0], "by "+pair[0].name
		n := by.create(name, want(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 3, by.name[1], 0}), 24)))
		by.do("name", by.Name(t.Context(), n.ID, registry.Naming{Name: name}))
		eventually(t, pair[1].name+" sees a later network", func() bool { return pair[1].sees(name) })
	}
	stored := func() int {
		pairs, _, err := cluster.List(t.Context(), "net/")
		h1.do("list", err)
		return len(pairs)
	}
	all, epoch := stored(), func(m *machine) uint64 { _, n, _ := m.Claims().Admit(); return n }
	for _, m := range []*machine{h1, h2} {
		eventually(t, m.name+" claims", func() bool { return epoch(m) > 0 })
	}
	began := epoch(h1)

	h1.do("look", h1.Bury(t.Context(), 0))
	h1.do("bury too early", h1.Bury(t.Context(), 29*24*time.Hour))
	if tombstones(h1) != kvstore.MaxOps+5 || stored() != all {
		t.Errorf("after 29 days h1 has %d tombstones and the store %d records of %d", tombstones(h1), stored(), all)
	}
	const month = 31 * 24 * time.Hour
	eventually(t, "the store has the others alone", func() bool {
		h1.do("bury", h1.Bury(t.Context(), month)) // the last removal may be under way
		return stored() == all-kvstore.MaxOps-5
	})
	if _, err := cluster.Get(t.Context(), "net/"+last.ID); !errors.Is(err, kvstore.ErrNotFound) {
		t.Errorf("a removed network's record is read with %v", err)
	}
	h2.do("look", h2.Bury(t.Context(), 0))
	for _, m := range []*machine{h1, h2} {
		eventually(t, m.name+" has no tombstones", func() bool { h1.do("bury", m.Bury(t.Context(), month)); return tombstones(m) == 0 })
		m.restart(cluster)
		eventually(t, m.name+" claims again", func() bool { return epoch(m) > 0 })
		if tombstones(m) > 0 || !m.sees("stays") || epoch(m) != began {
			t.Errorf("%s has %d tombstones and sees the network that stays: %t; its epoch is %d, was %d", m.name, tombstones(m), m.sees("stays"), epoch(m), began)
		}
	}
}

// A host that was away for all that time brings a network back that it has.
func TestNetworkOutlivesItsTombstone(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	eventually(t, "h2 sees the network", func() bool { return h2.sees("net") })
	h2.create("d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	h2.stop()
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	eventually(t, "the tombstone has come and gone", func() bool {
		h1.do("bury", h1.Bury(t.Context(), 31*24*time.Hour))
		_, err := cluster.Get(t.Context(), "net/"+n.ID)
		return errors.Is(err, kvstore.ErrNotFound) && len(h1.Tombstones()) == 0
	})
	h2.start(cluster)
	eventually(t, "the network is back", func() bool { return h1.sees("net") && h2.sees("net") })
}

// How old a tombstone is does not depend on the clock of the host that removed the
// network, nor on that of the one that looks: time counts as long as weft runs.
func TestATombstonesAgeIsNotByTheClock(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	for _, skew := range []time.Duration{-year, year} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := registrytest.OpenStore(t, "cluster.db")
				h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
				n := h1.create("d1", want(subnetA))
				waitID(t, h2, n)
				h1.do("delete", h1.Delete(t.Context(), "d1"))
				time.Sleep(time.Second)
				shift(t, cluster, "net/"+n.ID, skew, "deleted")
				time.Sleep(time.Second)
				h1.stop()
				left := func() bool {
					_, err := cluster.Get(t.Context(), "net/"+n.ID)
					return err == nil && len(h2.Tombstones()) == 1
				}
				// h2 restarts on the way, and is down for a year.
				for _, lives := range []time.Duration{14 * day, 14 * day} {
					h2.stop()
					ctx, end := context.WithTimeout(t.Context(), lives)
					h2.do("look after tombstones", h2.RunTombstones(ctx))
					end()
					if !left() {
						t.Fatal("the tombstone is gone within 28 days")
					}
					time.Sleep(year)
					h2.start(cluster)
					time.Sleep(time.Second)
				}
				h2.stop()
				ctx, end := context.WithTimeout(t.Context(), 3*day)
				defer end()
				h2.do("look after tombstones", h2.RunTombstones(ctx))
				if left() {
					t.Error("the tombstone is there after 31 days")
				}
			})
		})
	}
}
