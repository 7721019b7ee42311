package doctor

import (
	"context"
	"testing"
)

// wayFaults are faults on the way between the hosts.
var wayFaults = []fault{
	{
		check: "firewall", how: "an nftables policy drops, and UDP port 4789 is forgotten", says: []string{"its policy", "inet strict in", "UDP port 4789", "coming in"},
		breaks: rules("h1", "chain in { type filter hook input priority 0; policy drop; meta l4proto { tcp, icmp } accept; udp dport 7947 accept; }"),
	},
	{
		check: "firewall", how: "an iptables rule rejects UDP port 4789 on the way out", says: []string{"OUTPUT", "UDP port 4789", "going out"},
		breaks: commands("h1", "iptables -A OUTPUT -p udp --dport 4789 -j REJECT", "iptables -D OUTPUT -p udp --dport 4789 -j REJECT"),
	},
	{
		check: "firewall", how: "an iptables rule drops UDP port 7947", says: []string{"INPUT", "UDP port 7947"},
		breaks: commands("h1", "iptables -I INPUT -p udp --dport 7947 -j DROP", "iptables -D INPUT -p udp --dport 7947 -j DROP"),
	},
	{
		check: "push", how: "the other host drops TCP port 7947", says: []string{"host h2", "TCP port 7947"},
		breaks: rules("h2", "chain in { type filter hook input priority 0; tcp dport 7947 drop; }"),
	},
	{
		check: "push", how: "the other host's beats are dropped on the way out", says: []string{"host h2", "UDP port 7947"},
		breaks: rules("h2", "chain out { type filter hook output priority 0; udp dport 7947 drop; }"),
	},
	{
		check: "store", how: "the Consul server cannot be reached", says: []string{"198.51.100.2:8500", "does not answer"},
		breaks: func(t *testing.T) func() {
			if err := cluster.Cut(t.Context(), "h1", "consul1"); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := cluster.Heal(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
			}
		},
	},
}

// rules breaks by an nftables table of the host with a chain.
func rules(host, chain string) func(t *testing.T) func() {
	return commands(host, "nft 'table inet strict { "+chain+"; }'", "nft delete table inet strict")
}
