package control

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/dataplane/direct"
	"github.com/weft-net/weft/driver/overlay"
)

func TestHowPacketsGoToEachHost(t *testing.T) {
	nic := overlay.MAC{2, 0, 0, 0, 0, 9}
	some := []overlay.PeerEndpoint{{ID: "e"}}
	s := overlay.Snapshot{
		Hosts:    map[string]overlay.Host{"h2": {Name: "h2", Direct: nic}, "h3": {Name: "h3"}, "h4": {Name: "h4", Direct: nic}},
		Networks: map[string]overlay.Network{"a": {ID: "a"}, "b": {ID: "b"}, "c": {ID: "c", Tunnelled: true}, "d": {ID: "d", Unguarded: true}, "e": {ID: "e"}},
		Local:    []overlay.Endpoint{{Network: "a", Phase: overlay.Joined}, {Network: "b", Phase: overlay.Joined}, {Network: "c", Phase: overlay.Joined}, {Network: "d", Phase: overlay.Joined}},
		Peers: map[string][]overlay.Attachment{
			"a": {{Host: "h2", Endpoints: some}, {Host: "h3", Endpoints: some}, {Host: "h4", Endpoints: some}, {Host: "gone", Endpoints: some}},
			"b": {{Host: "h2", Endpoints: some}, {Host: "h3"}},
			"c": {{Host: "h2", Endpoints: some}},
			"e": {{Host: "h3", Endpoints: some}},
		},
	}
	states := map[string]direct.State{"a h2": direct.Direct, "b h2": direct.Probing, "a h4": direct.Tunnel}
	state := func(network string, to overlay.Host) direct.State { return states[network+" "+to.Name] }
	got := DirectOf(s, true, "", state)
	want := Direct{Takes: true, Hosts: []DirectHost{
		{Host: "h2", Direct: []string{"a"}, Probing: []string{"b"}, Tunnel: []string{"c"}, Why: "the network has weft.path=tunnel"},
		{Host: "h3", Direct: []string{}, Probing: []string{}, Tunnel: []string{"a"}, Why: "that host takes none, its own weft status says why"},
		{Host: "h4", Direct: []string{}, Probing: []string{}, Tunnel: []string{"a"}, Why: "probes without a tunnel are not answered", Unanswered: true},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	states = nil
	s.Peers = map[string][]overlay.Attachment{"a": {{Host: "h2", Endpoints: some}}, "d": {{Host: "h4", Endpoints: some}}}
	for i, why := range []string{"another segment", "port_isolation=false"} {
		if got := DirectOf(s, true, "", state).Hosts[i].Why; !strings.Contains(got, why) {
			t.Errorf("%q says nothing of %q", got, why)
		}
	}
	if got := DirectOf(s, false, "eth0 is wireless", state); got.Hosts[0].Why != "eth0 is wireless" || got.Why != "eth0 is wireless" {
		t.Errorf("%+v", got)
	}
}
