package record

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
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
		if strings.HasPrefix(key, NetPrefix) && key != EpochKey {
			read := ReadNetworks([]kvstore.Pair{p}, nil, nil)
			if len(read.Networks)+len(read.Passed) != 1 {
				t.Errorf("it is neither used nor passed over: %+v", read)
			}
			for _, n := range read.Networks {
				if _, err := json.Marshal(n); err != nil {
					t.Error(err)
				}
				s.Networks[n.ID] = n
				s.Local = append(s.Local, overlay.Endpoint{ID: "e", Network: n.ID, Phase: overlay.Joined})
			}
		}
		for name, u := range ReadHosts([]kvstore.Pair{p}).Updates {
			s.Hosts[name] = u.Doc.Host
		}
		if at, err := DecodeAttachment("h1", "a", value); err == nil {
			s.Networks["a"] = overlay.Network{ID: "a", VNI: 1}
			s.Hosts["h1"] = overlay.Host{Name: "h1"}
			s.Local = append(s.Local, overlay.Endpoint{ID: "e", Network: "a", Phase: overlay.Joined})
			s.Peers["a"] = []overlay.Attachment{at}
			if _, _, err := Fit(&at, len(value)/2); err != nil {
				t.Error(err)
			}
		}
		overlay.Plan(s)
		_, _, _ = StoredEpoch([]kvstore.Pair{{Key: EpochKey, Value: value}})
		Lasting(key)
	})
}

// Of two networks that want one subnet the one that is known here has it, then the
// older one, whatever a record says that somebody has made up.
func TestWhoHasASubnet(t *testing.T) {
	pair := func(id, prefix, created string) kvstore.Pair {
		return kvstore.Pair{Key: NetPrefix + id, Value: []byte(`{"id":"` + id + `","vni":70000,"subnets":[{"prefix":"` + prefix + `"}],"created":"` + created + `"}`)}
	}
	old, young, wide := pair("b", "10.1.0.0/24", "2026-01-01T00:00:00Z"), pair("a", "10.1.0.0/25", "2026-02-01T00:00:00Z"), pair("c", "10.0.0.0/8", "2001-01-01T00:00:00Z")
	known, err := DecodeNetwork(old)
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
		"no conflict": {[]kvstore.Pair{old, pair("d", "10.2.0.0/24", "2026-01-01T00:00:00Z")}, nil, "b d"},
	} {
		var got []string
		for _, n := range ReadNetworks(c.pairs, c.known, nil).Networks {
			got = append(got, n.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", what, got, c.want)
		}
	}
}

func TestFit(t *testing.T) {
	var at overlay.Attachment
	for range 50 {
		at.Endpoints = append(at.Endpoints, overlay.PeerEndpoint{ID: strings.Repeat("e", 64), Name: "box", Names: strings.Split(strings.Repeat("name,", 100), ",")})
	}
	for _, most := range []int{100 << 10, 20 << 10, 7 << 10, 1 << 10} {
		cut := at
		b, said, err := Fit(&cut, most)
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

func TestOutdated(t *testing.T) {
	at := time.Unix(1000, 0)
	n := func(d time.Duration, version uint64) overlay.Network {
		return overlay.Network{Created: at.Add(d), Version: version}
	}
	rebuilt := func(n overlay.Network) overlay.Network {
		n.Rebuilt = true
		return n
	}
	for what, tt := range map[string]struct {
		stored, known overlay.Network
		want          bool
	}{
		"the same":                        {n(0, 1), n(0, 1), false},
		"changed since":                   {n(0, 2), n(0, 1), false},
		"as it was before":                {n(0, 1), n(0, 2), true},
		"the original of one made again":  {n(0, 1), rebuilt(n(time.Hour, 2)), false},
		"one made again":                  {rebuilt(n(time.Hour, 2)), n(0, 1), true},
		"another of the same id":          {n(time.Hour, 0), n(0, 2), false},
		"one before, with the id by name": {n(-time.Hour, 7), n(0, 2), true},
	} {
		if got := Outdated(tt.stored, tt.known); got != tt.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}
