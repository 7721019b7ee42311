package match

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

func network(id, name string, subnets ...string) overlay.Network {
	n := overlay.Network{ID: id, Name: name, Host: "h1"}
	for _, s := range subnets {
		n.Subnets = append(n.Subnets, overlay.Subnet{Prefix: netip.MustParsePrefix(s)})
	}
	return n
}

// What a user asked for is all that counts of the network that was second.
func TestWhatWasAskedFor(t *testing.T) {
	chosen := func(n overlay.Network) overlay.Network {
		for i := range n.Subnets {
			n.Subnets[i].Chosen = true
		}
		return n
	}
	const id = "0123456789ab" // of weft's choice
	for name, c := range map[string]struct {
		mine, first overlay.Network
		shown       engine.Network
		want        []string
	}{
		"nothing":                {mine: network(id, "", "10.1.0.0/24"), first: network("w1", "a", "10.2.0.0/24")},
		"no more than is there":  {mine: network(id, "", "10.1.0.0/24"), first: chosen(network("w1", "a", "10.2.0.0/24"))},
		"a subnet":               {mine: chosen(network(id, "", "10.1.0.0/24")), first: network("w1", "a", "10.2.0.0/24"), want: []string{"subnet ([10.2.0.0/24] there, 10.1.0.0/24 here)"}},
		"one of the two subnets": {mine: chosen(network(id, "", "10.1.0.0/24", "fd00::/64")), first: network("w1", "a", "10.1.0.0/24", "fd01::/64"), want: []string{"fd00::/64"}},
		"an id":                  {mine: network("blue", ""), shown: engine.Network{ID: "d1", Name: "a", Options: map[string]string{option.ID: "blue"}}, first: network("w1", "a"), want: []string{"id (w1 there, blue here)"}},
		"no way out":             {mine: overlay.Network{ID: id, Internal: true}, first: network("w1", "a"), want: []string{"--internal"}},
		"IPv6":                   {mine: network(id, ""), shown: engine.Network{IPv6: true}, first: network("w1", "a"), want: []string{"--ipv6"}},
		"an option": {
			mine:  overlay.Network{ID: id, Options: map[string]string{"com.docker.network.driver.mtu": "1400"}},
			first: overlay.Network{ID: "w1", Options: map[string]string{"com.docker.network.driver.mtu": "1300", option.VNIList: "7"}},
			want:  []string{"options (map[com.docker.network.driver.mtu:1300] there"},
		},
		"the same option": {
			mine:  overlay.Network{ID: id, Options: map[string]string{"k": "v"}},
			first: overlay.Network{ID: "w1", Options: map[string]string{"k": "v", option.VNIList: "7"}},
		},
	} {
		got := Unmet(c.mine, c.shown, c.first)
		if len(got) != len(c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: got %q, want %q", name, got, c.want)
			}
		}
	}
}
