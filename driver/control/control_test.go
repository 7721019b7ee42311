package control

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// healthy is what host h1 knows: h2 has a container and stock in network web,
// h3 is down and has web too, and network lab is on h2 only.
func healthy() State {
	h1 := overlay.Host{Name: "h1", Incarnation: "i1", VTEP: addr("192.0.2.1"), Port: 4789, MTU: 1500, Version: "1.0"}
	h2 := overlay.Host{Name: "h2", Incarnation: "i2", VTEP: addr("192.0.2.2"), Port: 4789, MTU: 1400, Version: "1.0"}
	h3 := overlay.Host{Name: "h3", Incarnation: "i3", VTEP: addr("192.0.2.3"), Port: 4789, MTU: 1500, Version: "0.9"}
	return State{
		Version: "1.0", Commit: "abc", Started: start, Cluster: "c1",
		Snapshot: overlay.Snapshot{
			Self:  h1,
			Hosts: map[string]overlay.Host{"h2": h2, "h3": h3},
			Networks: map[string]overlay.Network{
				"aaaaaaaaaaaa": {
					ID: "aaaaaaaaaaaa", Name: "web", VNI: 70000, Host: "h1", Created: start,
					Subnets: []overlay.Subnet{{Prefix: prefix("10.1.0.0/24"), Gateway: addr("10.1.0.1")}, {Prefix: prefix("fd00:1::/64")}},
				},
				"lab": {ID: "lab", Name: "lab", VNI: 70001, MTU: 1300, Host: "h2", Created: start},
			},
			Local: []overlay.Endpoint{{
				ID: "e1", Network: "aaaaaaaaaaaa", MAC: overlay.MAC{2, 0, 0, 0, 0, 1}, Name: "c1",
				Addrs: []netip.Addr{addr("10.1.0.2"), addr("fd00:1::2")}, Phase: overlay.Joined,
			}},
			Peers: map[string][]overlay.Attachment{
				"aaaaaaaaaaaa": {
					{Network: "aaaaaaaaaaaa", Host: "h3"},
					{
						Network: "aaaaaaaaaaaa", Host: "h2", Stock: []netip.Addr{addr("10.1.0.9"), addr("10.1.0.8")},
						Endpoints: []overlay.PeerEndpoint{{ID: "e2", MAC: overlay.MAC{2, 0, 0, 0, 0, 2}, Addrs: []netip.Addr{addr("10.1.0.3")}, Name: "c2"}},
					},
				},
				"lab": {{Network: "lab", Host: "h2"}},
			},
		},
		Own:    []overlay.Attachment{{Network: "aaaaaaaaaaaa", Host: "h1", Stock: []netip.Addr{addr("10.1.0.5")}}},
		Hosts:  []HostState{{Host: h3, Since: start}, {Host: h2, Live: true, Since: start}},
		Store:  Store{URL: "consul://192.0.2.100:8500", Reachable: true, Since: start},
		Docker: Docker{Mirroring: true, URL: "unix:///var/run/docker.sock", Connected: true, Since: start},
		Passes: Passes{Count: 7, Last: start.Add(time.Minute), Took: time.Millisecond, Every: 30 * time.Second},
	}
}
