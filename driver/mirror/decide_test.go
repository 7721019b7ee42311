package mirror

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/mirror/match"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

const day = "2026-01-02T15:04:05Z"

// at gives a moment some seconds into a day.
func at(seconds int) time.Time {
	t, _ := time.Parse(time.RFC3339, day)
	return t.Add(time.Duration(seconds) * time.Second)
}

func dockerNet(id, name string, change ...func(*engine.Network)) engine.Network {
	n := engine.Network{ID: id, Name: name, Driver: "weft", Created: at(0)}
	for _, c := range change {
		c(&n)
	}
	return n
}

func driver(name string) func(*engine.Network) { return func(n *engine.Network) { n.Driver = name } }

func created(s int) func(*engine.Network) { return func(n *engine.Network) { n.Created = at(s) } }

func weftID(id string) func(*engine.Network) {
	return func(n *engine.Network) { n.Options = map[string]string{option.ID: id} }
}

func swarm(n *engine.Network) { n.Swarm = true }

func swarms(n overlay.Network) overlay.Network {
	n.Swarm = true
	return n
}

func subnet(s string) func(*engine.Network) {
	return func(n *engine.Network) {
		n.Subnets = append(n.Subnets, overlay.Subnet{Prefix: netip.MustParsePrefix(s)})
	}
}

func weftNet(id, name string, subnets ...string) overlay.Network {
	n := overlay.Network{ID: id, Name: name, Host: "h1"}
	for _, s := range subnets {
		n.Subnets = append(n.Subnets, overlay.Subnet{Prefix: netip.MustParsePrefix(s)})
	}
	return n
}

func gone(n overlay.Network) overlay.Network {
	n.Deleted = at(0)
	return n
}

func TestDecide(t *testing.T) {
	type networks = []overlay.Network
	type docker = []engine.Network
	type known = map[string]overlay.Network
	type kernel = map[string]overlay.Remains
	tests := []struct {
		name    string
		docker  docker
		live    networks
		gone    networks
		known   known
		earlier bool // that was recorded by an earlier process
		kernel  kernel
		lost    bool
		frozen  bool
		want    []string // kind, Docker's id, weft's id, grace
	}{
		{name: "nothing"},
		{
			name:   "a network that agrees",
			docker: docker{dockerNet("d1", "a")}, live: networks{weftNet("w1", "a")}, known: known{"d1": weftNet("w1", "a")},
		},
		{
			name:   "a user's new network is named",
			docker: docker{dockerNet("d1", "a")}, live: networks{weftNet("w1", "")}, known: known{"d1": weftNet("w1", "")},
			want: []string{"name d1 w1 0s"},
		},
		{
			name: "a network being created is in no list yet",
			live: networks{weftNet("w1", "")}, known: known{"d1": weftNet("w1", "")},
			want: []string{"detach d1 w1 30s"},
		},
		{
			name: "another host's network is created",
			live: networks{weftNet("w1", "a")},
			want: []string{"create  w1 0s"},
		},
		{
			name: "another host's network is not created before it has a name",
			live: networks{weftNet("w1", "")},
		},
		{
			name:   "a name taken by a foreign network is a conflict",
			docker: docker{dockerNet("d1", "a", driver("bridge"))}, live: networks{weftNet("w1", "a")},
			want: []string{"report d1 w1 0s"},
		},
		{
			name:   "a foreign network under weft's option is left alone",
			docker: docker{dockerNet("d1", "a", driver("macvlan"), weftID("w1"))},
		},
		{
			name:   "the loser of a race for a name asks for it, and the winner waits",
			docker: docker{dockerNet("d2", "a")}, live: networks{weftNet("w1", "a"), weftNet("w2", "")}, known: known{"d2": weftNet("w2", "")},
			want: []string{"name d2 w2 0s"},
		},
		{
			name:   "of two new networks of one name the older is named first",
			docker: docker{dockerNet("d1", "a", created(2)), dockerNet("d2", "a", created(1))},
			live:   networks{weftNet("w1", ""), weftNet("w2", "")},
			known:  known{"d1": weftNet("w1", ""), "d2": weftNet("w2", "")},
			want:   []string{"name d2 w2 0s"},
		},
		{
			name:   "a network with a tombstone is removed",
			docker: docker{dockerNet("d1", "a")}, known: known{"d1": gone(weftNet("w1", "a"))},
			want: []string{"remove d1 w1 0s"},
		},
		{
			name:   "a network that takes a removed one's name waits until that is gone here",
			docker: docker{dockerNet("d1", "a")}, live: networks{weftNet("w2", "a")}, known: known{"d1": gone(weftNet("w1", "a"))},
			want: []string{"remove d1 w1 0s"},
		},
		{
			name: "a network that Docker has lost is detached after a while, and not created before",
			live: networks{weftNet("w1", "a")}, known: known{"d1": weftNet("w1", "a")},
			want: []string{"detach d1 w1 30s"},
		},
		{
			name: "a mirrored network that Docker did not get before weft ended is detached soon",
			live: networks{weftNet("w1", "a")}, known: known{"d1": weftNet("w1", "a")}, earlier: true,
			want: []string{"detach d1 w1 1s"},
		},
		{
			name: "one without a name may be on Docker's list yet, and would be gone for good",
			live: networks{weftNet("w1", "")}, known: known{"d1": weftNet("w1", "")}, earlier: true,
			want: []string{"detach d1 w1 30s"},
		},
		{
			name:   "an unknown network is found by its option",
			docker: docker{dockerNet("d1", "b", weftID("w1"))}, live: networks{weftNet("w1", "a")},
			want: []string{"attach d1 w1 5s"},
		},
		{
			name:   "an unknown network is found by the id that is a name",
			docker: docker{dockerNet("d1", "a", weftID("a"))}, live: networks{weftNet("w1", "a")},
			want: []string{"attach d1 w1 5s"},
		},
		{
			name:   "an unknown network is found by name and subnets",
			docker: docker{dockerNet("d1", "a", subnet("fd00::/64"), subnet("10.1.0.0/16"))},
			live:   networks{weftNet("w1", "a", "10.1.0.0/16", "fd00::/64")},
			want:   []string{"attach d1 w1 5s"},
		},
		{
			name:   "an unknown network with another subnet needs a person",
			docker: docker{dockerNet("d1", "a", subnet("10.2.0.0/16"))}, live: networks{weftNet("w1", "a", "10.1.0.0/16")},
			want: []string{"report d1  5s"},
		},
		{
			name:   "an unknown network of a network that is no more needs a person",
			docker: docker{dockerNet("d1", "a", weftID("w1"))},
			want:   []string{"report d1  5s"},
		},
		{
			name:   "an unknown network that was removed elsewhere meanwhile is removed",
			docker: docker{dockerNet("d1", "a", subnet("10.1.0.0/16"), created(-1)), dockerNet("d2", "b", weftID("w2"), created(-1))},
			gone:   networks{gone(weftNet("w1", "a", "10.1.0.0/16")), gone(weftNet("w2", "x"))},
			want:   []string{"remove d1 w1 5s", "remove d2 w2 5s"},
		},
		{
			name:   "not if it is another one of that name",
			docker: docker{dockerNet("d1", "a", subnet("10.2.0.0/16")), dockerNet("d2", "b", created(1))},
			gone:   networks{gone(weftNet("w1", "a", "10.1.0.0/16")), gone(weftNet("w2", "b"))},
			want:   []string{"report d1  5s", "report d2  5s"},
		},
		{
			name:   "not if its containers run here",
			docker: docker{dockerNet("d1", "a", created(-1))}, gone: networks{gone(weftNet("w1", "a"))}, kernel: kernel{"d1": {ID: "w1"}},
			want: []string{"remake d1  1s"},
		},
		{
			name:   "a network that nobody knows is recorded again if it is older than the store's data",
			docker: docker{dockerNet("d1", "a", created(-1)), dockerNet("d2", "b", created(1))},
			want:   []string{"remake d1  5s", "report d2  5s"},
		},
		{
			name:   "not while hosts record again what they have",
			docker: docker{dockerNet("d1", "a", created(-1))}, frozen: true,
		},
		{
			name:   "unless its containers run here",
			docker: docker{dockerNet("d1", "a"), dockerNet("d2", "s", swarm)}, frozen: true, kernel: kernel{"d1": {ID: "w1"}, "d2": {ID: "w2"}},
			want: []string{"remake d1  1s", "remake d2  1s"},
		},
		{
			name:   "once it is recorded, it is found by the kernel's id",
			docker: docker{dockerNet("d1", "a")}, live: networks{weftNet("w1", "")}, kernel: kernel{"d1": {ID: "w1"}}, lost: true,
			want: []string{"attach d1 w1 0s"},
		},
		{
			name:   "or by its name and subnets, if another host was first",
			docker: docker{dockerNet("d1", "a")}, live: networks{weftNet("w2", "a")}, kernel: kernel{"d1": {ID: "w1"}}, lost: true,
			want: []string{"attach d1 w2 0s"},
		},
		{
			name:   "a network of the name of another one needs a person all the same",
			docker: docker{dockerNet("d1", "a", subnet("10.2.0.0/16"), created(-1))}, live: networks{weftNet("w2", "a", "10.1.0.0/16")}, kernel: kernel{"d1": {ID: "w1"}},
			want: []string{"report d1  5s"},
		},
		{
			name:   "a second network of one id is removed",
			docker: docker{dockerNet("d1", "a"), dockerNet("d2", "a", weftID("w1"))}, live: networks{weftNet("w1", "a")}, known: known{"d1": weftNet("w1", "a")},
			want: []string{"remove d2 w1 5s"},
		},
		{
			name:   "of two unknown networks of one id the older is taken over",
			docker: docker{dockerNet("d1", "a", weftID("w1"), created(2)), dockerNet("d2", "a", weftID("w1"), created(1))}, live: networks{weftNet("w1", "a")},
			want: []string{"attach d2 w1 5s", "remove d1 w1 5s"},
		},
		{
			name:   "an unknown network beside a known one of its name is removed",
			docker: docker{dockerNet("d1", "a"), dockerNet("d2", "a", subnet("10.2.0.0/16"))}, live: networks{weftNet("w1", "a")}, known: known{"d1": weftNet("w1", "a")},
			want: []string{"remove d2  5s"},
		},
		{
			name:   "a network joined under another's name is a conflict",
			docker: docker{dockerNet("d1", "b")}, live: networks{weftNet("w1", "a"), weftNet("w2", "b")}, known: known{"d1": weftNet("w1", "a")},
			want: []string{"report d1 w2 5s"},
		},
		{
			name:   "a network of Swarm's is named",
			docker: docker{dockerNet("d1", "a", swarm)}, live: networks{weftNet("w1", "")}, known: known{"d1": weftNet("w1", "")},
			want: []string{"name d1 w1 0s"},
		},
		{
			name: "a network of Swarm's is not mirrored",
			live: networks{swarms(weftNet("w1", "a"))},
		},
		{
			name:   "a network of Swarm's is removed by Swarm alone",
			docker: docker{dockerNet("d1", "a", swarm)}, known: known{"d1": gone(weftNet("w1", "a"))},
		},
		{
			name:   "a network of Swarm's without a task here is nobody's business",
			docker: docker{dockerNet("d1", "a", swarm)},
		},
		{
			name:   "a name taken by a network of Swarm's is a conflict",
			docker: docker{dockerNet("d1", "a", swarm)}, live: networks{weftNet("w1", "a")},
			want: []string{"report d1 w1 0s"},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			held := map[string]registry.InDocker{}
			for id, n := range tc.known {
				held[id] = registry.InDocker{Network: n, Earlier: tc.earlier}
			}
			view := match.View{
				Inventory: registry.Inventory{Live: tc.live, Gone: tc.gone, Docker: held, Lost: tc.lost, Epoch: at(0), Frozen: tc.frozen},
				Kernel:    tc.kernel,
			}
			var got []string
			for _, a := range decide("weft:latest", tc.docker, view) {
				got = append(got, fmt.Sprintf("%s %s %s %s", a.kind, a.docker.ID, a.network.ID, a.after))
				if (a.kind == doReport || a.kind == doRemove) && a.why == "" {
					t.Errorf("%s says no reason", a.kind)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("actions (-want +got):\n%s", diff)
			}
		})
	}
}
