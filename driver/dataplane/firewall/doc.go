// Package firewall tells what a host's nftables rules do to a packet. It is a
// simulation: it sends nothing, and it says that a packet is dropped only if that is
// sure. Of what rules look at, only what is known of the packet beforehand counts.
package firewall
