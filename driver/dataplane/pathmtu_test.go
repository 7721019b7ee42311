package dataplane_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
)

// The host's address is on the loopback, as where the host itself speaks BGP; or
// on its only link.
func TestTheUnderlaysMTUIsThatOfTheWay(t *testing.T) {
	const onLo, onLink, six = "198.51.100.1", "192.0.2.1", "2001:db8:1::1"
	for _, test := range []struct {
		name  string
		spec  string
		peers []string
		via   string
		setup []string
		want  int
	}{
		{"on lo, no way known", onLo, nil, "", nil, 1500},
		{"on lo, by its name", "lo", nil, "", nil, 1500},
		{"on lo, by the route to a peer", onLo, []string{"203.0.113.7"}, "", []string{"ip route add 203.0.113.0/24 via 192.0.2.254"}, 1450},
		{"and the route's own MTU", onLo, []string{"203.0.113.7"}, "", []string{"ip route add 203.0.113.0/24 via 192.0.2.254 mtu 1400"}, 1400},
		{"of two peers the smaller", onLo, []string{"203.0.113.7", "192.0.2.7"}, "", []string{"ip route add 203.0.113.0/24 via 192.0.2.254 mtu 1400"}, 1400},
		{"a peer without a way says nothing", onLo, []string{"203.0.113.7", "192.0.2.7"}, "", nil, 1450},
		{"on lo, by the route to the store", onLo, nil, "203.0.113.7", []string{"ip route add 203.0.113.0/24 via 192.0.2.254 mtu 1300"}, 1300},
		{"on lo, by the default route", onLo, nil, "", []string{"ip route add default via 192.0.2.254 mtu 1350"}, 1350},
		{"peers before the store and the default route", onLo, []string{"192.0.2.7"}, "203.0.113.7", []string{"ip route add default via 192.0.2.254 mtu 1350"}, 1450},
		{"by two links", onLo, []string{"203.0.113.7"}, "", []string{"ip route add 203.0.113.0/24 nexthop via 192.0.2.254 dev eth0 nexthop dev side"}, 1380},
		{"on lo, IPv6", six, []string{"2001:db8:7::7"}, "", []string{"ip -6 route add 2001:db8:7::/64 via 2001:db8::fe mtu 1410"}, 1410},
		{"a peer of the other family says nothing", six, []string{"192.0.2.7"}, "", nil, 1500},
		{"on a link", onLink, nil, "", nil, 1450},
		{"on a link, the route to a peer", onLink, []string{"203.0.113.7"}, "", []string{"ip route add 203.0.113.0/24 via 192.0.2.254 mtu 1400"}, 1400},
		{"on a link, more than it takes", onLink, []string{"203.0.113.7"}, "", []string{"ip route add 203.0.113.0/24 via 192.0.2.254 mtu 9000"}, 1450},
		{"on a link, its default route", onLink, nil, "", []string{"ip route add default via 192.0.2.254 mtu 1350"}, 1350},
		{"on a link, while the store is behind another", onLink, nil, "203.0.113.7", []string{"ip route add 203.0.113.0/24 dev side"}, 1450},
		{"a peer that is this host", onLink, []string{onLo}, "", nil, 1450},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHosts(t, 1)[0]
			for _, command := range append([]string{
				"ip address add 198.51.100.1/32 dev lo", "ip -6 address add 2001:db8:1::1/128 dev lo", "ip link set lo mtu 65536",
				"ip link set eth0 mtu 1450", "ip link add side type bridge", "ip link set side up mtu 1380",
			}, test.setup...) {
				must(t, h.ns, strings.Fields(command)...)
			}
			var peers []netip.Addr
			for _, p := range test.peers {
				peers = append(peers, ip(p))
			}
			var via netip.Addr
			if test.via != "" {
				via = ip(test.via)
			}
			got, err := h.dp.Underlay(context.Background(), test.spec, via, peers)
			if err != nil || got.MTU != test.want {
				t.Errorf("%+v, %v; want %d", got, err, test.want)
			}
		})
	}
}

func TestAnUnderlayThatNobodyReachesIsRefused(t *testing.T) {
	h := newHosts(t, 1)[0]
	for spec, want := range map[string]string{
		"127.0.0.1": "underlay address 127.0.0.1 is refused", "127.0.0.9": "underlay address 127.0.0.9 is refused",
		"::1": "is refused", "224.0.0.1": "is refused", "ff02::1": "is refused", "0.0.0.0": "is refused", "::": "is refused",
		"fe80::1": "is refused", "lo": "underlay interface lo has no global address",
	} {
		if u, err := h.dp.Underlay(context.Background(), spec, netip.Addr{}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", spec, u, err, want)
		}
	}
}
