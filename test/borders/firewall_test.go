package borders

import (
	"testing"

	"github.com/weft-net/weft/test/lab"
)

// firewall is a way in which Docker filters and translates what containers send.
type firewall struct {
	name       string
	config     lab.Config
	translates bool // sources of containers
}

// Docker's own bridge has IPv6, so that containers behind it can send to the hosts
// over both.
var bridge6 = []string{"--ipv6", "--fixed-cidr-v6=2001:db8:d0::/64"}

// Docker 20.10 writes rules for IPv6 only when it is asked to.
var rules6 = []string{"--experimental", "--ip6tables"}

func firewalls(t *testing.T) []firewall {
	t.Helper()
	all := []firewall{
		{"iptables-legacy", lab.Config{Iptables: "legacy", DockerdArgs: append(rules6, bridge6...)}, true},
		{"iptables-nft", lab.Config{Iptables: "nft", DockerdArgs: append(rules6, bridge6...)}, true},
		{"none", lab.Config{DockerdArgs: append([]string{"--iptables=false"}, bridge6...)}, false},
	}
	const nftables = "29" // the first Docker that writes nftables itself
	switch {
	case *peer == "swarm":
		all = all[1:2]
	case lab.HasDocker(nftables):
		all = append(all, firewall{"Docker's nftables", lab.Config{
			// It refuses to start where nobody has switched forwarding on, unless told not to mind.
			Docker: []string{nftables}, DockerdArgs: append([]string{"--firewall-backend=nftables", "--ip-forward=false"}, bridge6...),
		}, true})
	default:
		t.Log("Docker's nftables is left out: test/tools/install.sh docker-29 builds a Docker that has it")
	}
	return all
}
