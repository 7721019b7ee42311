package doctor

import (
	"fmt"
	"testing"
)

// pathFaults are faults on the way from h1 to h2 that no host knows of by
// itself: the rules lie where weft doctor does not look.
var pathFaults = []fault{
	{
		check: "tunnel", how: "what comes from one host is dropped, seen from there", says: []string{"path from h1 to h2"},
		breaks: underlay("drop"),
	},
	{
		check: "tunnel", how: "what comes from one host is dropped, seen from the other", says: []string{"path from h1 to h2"},
		host: "h2", breaks: underlay("drop"),
	},
	{
		check: "mtu", how: "packets of more than 1400 bytes are dropped one way", says: []string{"path from h1 to h2", "--mtu 1400"},
		breaks: underlay("meta length > 1400 drop"),
	},
	{
		// Behind the headers of UDP, VXLAN, Ethernet, IPv4 and UDP.
		check: "checksum", how: "two bytes inside each packet are changed one way", says: []string{"path from h1 to h2"},
		breaks: underlay("@th,640,16 set 0xdead"),
	},
}

// underlay breaks by a rule for what h2 gets from h1 through the tunnels.
func underlay(rule string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		from := fmt.Sprintf("ip saddr %s udp dport 4789", cluster.Host("h1").Addr())
		return commands("h2", fmt.Sprintf("nft 'table netdev doctor { chain in { type filter hook ingress device eth0 priority 0; %s %s; }; }'", from, rule),
			"nft delete table netdev doctor")(t)
	}
}
