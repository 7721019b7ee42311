// Package dataplane makes this host's kernel hold an overlay.Config: network
// namespaces, bridges, VXLAN devices, veth pairs, forwarding entries and the
// nftables guards. It is the only importer of netlink and nftables.
package dataplane
