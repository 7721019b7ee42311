package registry

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

// A tombstone that a store has lost is a sign as well, but is not remembered.
func TestTombstonesAreNotRemembered(t *testing.T) {
	log, _ := test.NewNullLogger()
	r, err := Open(t.Context(), Config{
		Self:    overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789},
		Cluster: registrytest.OpenStore(t, "cluster.db"), State: registrytest.OpenStore(t, "state.db"), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.SetAddresses(registrytest.NoAddresses{})
	var pairs []kvstore.Pair
	want := map[string]uint64{}
	for i, c := range []struct {
		value string
		gone  bool
	}{
		{`{"id":"0","deleted":"2026-01-02T15:04:05Z"}`, true},
		{`{"id":"1","vni":70001,"subnets":[{"prefix":"10.1.0.0/24"}],"labels":{"deleted":"x"}}`, false},
		{`{"id":"2","vni":70002,"subnets":[{"prefix":"10.2.0.0/24"}]}`, false},
	} {
		p := kvstore.Pair{Key: record.NetPrefix + strconv.Itoa(i), Value: []byte(c.value), Revision: 7}
		pairs = append(pairs, p)
		if !c.gone {
			want[p.Key] = p.Revision
		}
	}
	if err := r.follower().applyNetworks(t.Context(), pairs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.epochs.Seen()); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
	pairs = append(pairs, kvstore.Pair{Key: record.NetPrefix + "3", Value: []byte("no record"), Revision: 8})
	if err := r.follower().applyNetworks(t.Context(), pairs); err != nil {
		t.Error("what is no record stops the others:", err)
	}
	if _, known := r.networkRecord("3"); known {
		t.Error("what is no record is taken for one")
	}
	if diff := cmp.Diff(want, r.epochs.Seen()); diff != "" {
		t.Errorf("remembered with what is no record (-want +got):\n%s", diff)
	}
	if got := r.skipped.Records(); len(got) != 1 || got[0].Key != record.NetPrefix+"3" {
		t.Errorf("passed over: %v", got)
	}
}
