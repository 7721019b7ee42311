package registry

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

func TestCompareEpochs(t *testing.T) {
	known := record.Epoch{N: 3, ID: "c"}
	for what, tt := range map[string]struct {
		known, stored record.Epoch
		want          standing
	}{
		"the same":                           {known, known, current},
		"somebody has begun the next":        {known, record.Epoch{N: 4, ID: "d"}, newer},
		"the store is empty":                 {known, record.Epoch{}, lost},
		"an old snapshot":                    {known, record.Epoch{N: 2, ID: "b"}, lost},
		"another cluster's, or made anew":    {known, record.Epoch{N: 3, ID: "x"}, lost},
		"a new host in an old cluster":       {record.Epoch{}, known, newer},
		"the first host of a cluster":        {record.Epoch{}, record.Epoch{}, lost},
		"another cluster's, which is ahead":  {known, record.Epoch{N: 9, ID: "y"}, newer},
		"a snapshot of long before all this": {known, record.Epoch{N: 1, ID: "a"}, lost},
	} {
		if got := compare(tt.known, tt.stored); got != tt.want {
			t.Errorf("%s: %v, want %v", what, got, tt.want)
		}
	}
}

func TestWentBack(t *testing.T) {
	before := map[string]uint64{"host/h1/doc": 5, "host/h2/doc": 7, "net/a": 9}
	for what, tt := range map[string]struct {
		now    map[string]uint64
		prefix string
		want   []string
	}{
		"nothing has changed":    {before, "", nil},
		"everything goes on":     {map[string]uint64{"host/h1/doc": 6, "host/h2/doc": 7, "net/a": 12, "net/b": 13}, "", nil},
		"a snapshot":             {map[string]uint64{"host/h1/doc": 5, "host/h2/doc": 4, "net/a": 9}, "", []string{"host/h2/doc"}},
		"a wiped store":          {nil, "", []string{"host/h1/doc", "host/h2/doc", "net/a"}},
		"a wiped store, hosts":   {nil, "host/", []string{"host/h1/doc", "host/h2/doc"}},
		"the other prefix alone": {map[string]uint64{"host/h1/doc": 5, "host/h2/doc": 7}, "host/", nil},
	} {
		if diff := cmp.Diff(tt.want, wentBack(before, tt.now, tt.prefix)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestAbsentees(t *testing.T) {
	vtep := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }
	e := era{Epoch: record.Epoch{
		N: 2, ID: "b", Hosts: []string{"h1", "h2", "gone"}, VTEPs: []netip.Addr{vtep(1), vtep(2), vtep(3), vtep(9)},
	}, down: map[string]bool{"dead": true}}
	host := func(name, epoch string, vtep netip.Addr) record.HostDoc {
		return record.HostDoc{Epoch: epoch, Host: overlay.Host{Name: name, VTEP: vtep}}
	}
	hosts := []record.HostDoc{
		host("h2", "b", vtep(2)), host("h3", "a", vtep(3)), host("h4", "", netip.Addr{}), host("dead", "a", netip.Addr{}),
	}
	self := overlay.Host{Name: "h1", VTEP: vtep(1)}
	if diff := cmp.Diff([]string{"at 192.0.2.9", "gone", "h3", "h4"}, e.absentees(self, slices.Values(hosts))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

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
	if err := r.applyNetworks(t.Context(), pairs); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.era.seen); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
	pairs = append(pairs, kvstore.Pair{Key: record.NetPrefix + "3", Value: []byte("no record"), Revision: 8})
	if err := r.applyNetworks(t.Context(), pairs); err != nil {
		t.Error("what is no record stops the others:", err)
	}
	if _, known := r.networkRecord("3"); known {
		t.Error("what is no record is taken for one")
	}
	if diff := cmp.Diff(want, r.era.seen); diff != "" {
		t.Errorf("remembered with what is no record (-want +got):\n%s", diff)
	}
	if got := r.skipped.Records(); len(got) != 1 || got[0].Key != record.NetPrefix+"3" {
		t.Errorf("passed over: %v", got)
	}
}
