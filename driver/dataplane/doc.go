// Package dataplane makes this host's kernel hold an overlay.Config: network
// namespaces, bridges, VXLAN devices, veth pairs, forwarding entries, the
// guards of ports and the border, and the programs of the fast path. It is the only importer of netlink and nftables.
package dataplane
