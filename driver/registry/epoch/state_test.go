package epoch

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

func TestCompareEpochs(t *testing.T) {
	known := record.Epoch{N: 3, ID: "c"}
	for what, tt := range map[string]struct {
		known, stored record.Epoch
		want          Standing
	}{
		"the same":                           {known, known, Current},
		"somebody has begun the next":        {known, record.Epoch{N: 4, ID: "d"}, Newer},
		"the store is empty":                 {known, record.Epoch{}, Lost},
		"an old snapshot":                    {known, record.Epoch{N: 2, ID: "b"}, Lost},
		"another cluster's, or made anew":    {known, record.Epoch{N: 3, ID: "x"}, Lost},
		"a new host in an old cluster":       {record.Epoch{}, known, Newer},
		"the first host of a cluster":        {record.Epoch{}, record.Epoch{}, Lost},
		"another cluster's, which is ahead":  {known, record.Epoch{N: 9, ID: "y"}, Newer},
		"a snapshot of long before all this": {known, record.Epoch{N: 1, ID: "a"}, Lost},
	} {
		if got := Compare(tt.known, tt.stored); got != tt.want {
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
	e := State{Epoch: record.Epoch{
		N: 2, ID: "b", Hosts: []string{"h1", "h2", "gone"}, VTEPs: []netip.Addr{vtep(1), vtep(2), vtep(3), vtep(9)},
	}, downBefore: map[string]bool{"dead": true}}
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
