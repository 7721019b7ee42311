package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// Whatever stands under a key: it is read without a panic, it is either used or passed
// over, and what is used can be kept and planned.
func FuzzRecords(f *testing.F) {
	f.Add("net/a", []byte(`{"id":"a","vni":70000,"subnets":[{"prefix":"10.1.0.0/24","x":1}],"y":{}}`))
	f.Add("host/h1/doc", []byte(`{"name":"h1","inc":"1","vtep":"192.0.2.1","digests":{"a":"b"}}`))
	f.Add("host/", []byte(nil))
	f.Add("at/h1/a", []byte(`{"host":"h1","network":"a","endpoints":[{"id":"e","mac":"02:00:00:00:00:01","addrs":["10.1.0.5"]}],"stock":["10.1.0.6"]}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		p := kvstore.Pair{Key: key, Value: value, Revision: 1}
		s := overlay.Snapshot{Networks: map[string]overlay.Network{}, Hosts: map[string]overlay.Host{}, Peers: map[string][]overlay.Attachment{}}
		if strings.HasPrefix(key, netPrefix) && key != netEpoch {
			read := readNetworks([]kvstore.Pair{p}, nil, nil)
			if len(read.networks)+len(read.passed) != 1 {
				t.Errorf("it is neither used nor passed over: %+v", read)
			}
			for _, n := range read.networks {
				if _, err := json.Marshal(n); err != nil {
					t.Error(err)
				}
				s.Networks[n.ID] = n
				s.Local = append(s.Local, overlay.Endpoint{ID: "e", Network: n.ID, Phase: overlay.Joined})
			}
		}
		for name, u := range readHosts([]kvstore.Pair{p}).updates {
			s.Hosts[name] = u.doc.Host
		}
		if at, err := decodeAttachment("h1", "a", value); err == nil {
			s.Networks["a"] = overlay.Network{ID: "a", VNI: 1}
			s.Hosts["h1"] = overlay.Host{Name: "h1"}
			s.Local = append(s.Local, overlay.Endpoint{ID: "e", Network: "a", Phase: overlay.Joined})
			s.Peers["a"] = []overlay.Attachment{at}
			if _, _, err := fit(&at, len(value)/2); err != nil {
				t.Error(err)
			}
		}
		overlay.Plan(s)
		_, _, _ = storedEpoch([]kvstore.Pair{{Key: netEpoch, Value: value}})
		lasting(key)
	})
}

// Of two networks that want one subnet the one that is known here has it, then the
// older one, whatever a record says that somebody has made up.
func TestWhoHasASubnet(t *testing.T) {
	record := func(id, prefix, created string) kvstore.Pair {
		return kvstore.Pair{Key: netPrefix + id, Value: []byte(`{"id":"` + id + `","vni":70000,"subnets":[{"prefix":"` + prefix + `"}],"created":"` + created + `"}`)}
	}
	old, young, wide := record("b", "10.1.0.0/24", "2026-01-01T00:00:00Z"), record("a", "10.1.0.0/25", "2026-02-01T00:00:00Z"), record("c", "10.0.0.0/8", "2001-01-01T00:00:00Z")
	known, err := decodeNetwork(old)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		pairs []kvstore.Pair
		known map[string]overlay.Network
		want  string
	}{
		"the older":   {[]kvstore.Pair{young, old}, nil, "b"},
		"the known":   {[]kvstore.Pair{old, wide}, map[string]overlay.Network{"b": known}, "b"},
		"no conflict": {[]kvstore.Pair{old, record("d", "10.2.0.0/24", "2026-01-01T00:00:00Z")}, nil, "b d"},
	} {
		var got []string
		for _, n := range readNetworks(c.pairs, c.known, nil).networks {
			got = append(got, n.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", what, got, c.want)
		}
	}
}

// With a change of one network's record only that one is decoded and compared in its
// parts, however many tombstones there are; and the change is seen.
func TestTombstonesCostNothing(t *testing.T) {
	var pairs []kvstore.Pair
	for i := range 1000 {
		id := fmt.Sprintf("%012x", i+1)
		pairs = append(pairs, kvstore.Pair{Key: netPrefix + id, Revision: 1, Value: []byte(`{"id":"` + id + `","name":"old","vni":70000,"host":"h1","subnets":[{"prefix":"10.1.0.0/24"}],"created":"2026-01-01T00:00:00Z","deleted":"2026-01-02T00:00:00Z"}`)})
	}
	r := &Registry{networks: map[string]overlay.Network{}, unsaved: map[string]kvstore.Op{}, skipped: new(skipped.List), log: logrus.New(), era: era{seen: map[string]uint64{}}}
	round := 0
	change := func() {
		round++
		pairs[0].Value = []byte(strings.Replace(string(pairs[1].Value), "000000000002", "000000000001", 1))
		pairs[0].Value = []byte(strings.Replace(string(pairs[0].Value), `"old"`, fmt.Sprintf(`"new%d"`, round), 1))
		if err := r.applyNetworks(t.Context(), pairs); err != nil {
			t.Fatal(err)
		}
		if got := r.networks["000000000001"].Name; got != fmt.Sprint("new", round) {
			t.Fatalf("the changed record is read as %q", got)
		}
	}
	change()
	if n := testing.AllocsPerRun(10, change); n > 10_000 { // to decode one takes about 50
		t.Errorf("with 1000 tombstones a change takes %.0f allocations", n)
	}
}

func TestFit(t *testing.T) {
	var at overlay.Attachment
	for range 50 {
		at.Endpoints = append(at.Endpoints, overlay.PeerEndpoint{ID: strings.Repeat("e", 64), Name: "box", Names: strings.Split(strings.Repeat("name,", 100), ",")})
	}
	for _, most := range []int{100 << 10, 20 << 10, 7 << 10, 1 << 10} {
		cut := at
		b, said, err := fit(&cut, most)
		if err != nil || len(b) > most {
			t.Errorf("%d bytes of %d, %v", len(b), most, err)
		}
		if (said == "") != (most == 100<<10) {
			t.Errorf("with %d bytes it says %q", most, said)
		}
	}
	if len(at.Endpoints[0].Names) != 101 {
		t.Error("the host's own record was cut")
	}
}
