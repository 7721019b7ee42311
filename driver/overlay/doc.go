// Package overlay is weft's pure model: what a network, a host, an endpoint
// and an attachment are, and which kernel state follows from them for one host.
// It has no I/O: Plan is a function of a Snapshot, and equal snapshots give
// equal, canonically ordered Configs.
//
// # Forwarding, and what it costs
//
// Each network with at least one local endpoint gets a network namespace with a
// bridge and one VXLAN device whose learning is off. For every address that a
// peer host has claimed in the network, in use or in its stock, three entries
// are programmed ahead of time: VXLAN FDB (MAC to VTEP), bridge FDB (MAC to the
// VXLAN port) and a permanent neighbour (IP to MAC) from which the bridge
// answers ARP and neighbour solicitations itself. That is possible before the
// container exists because a MAC is a function of the address (see MACOf), so a
// container that starts from stock needs no convergence at all.
//
// What the tables do not know is flooded to the network's other active VTEPs by
// head-end replication instead of being dropped, so a lagging control plane
// costs bandwidth, never connectivity.
package overlay
