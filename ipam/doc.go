// Package ipam gives every endpoint an address that no other endpoint of the
// cluster has, without making a container's start wait for the store.
//
// # Two stores
//
// Cluster is shared, contended and may be away. It holds one key per pool
// (subnets never overlap in a cluster) and one key per claimed address. An
// address key is made by create-if-absent and removed by compare-and-delete, so
// it has one owner at any time: the host that it names.
//
// State is this host's own durable file. It says what this host does with the
// addresses that it has claimed: in stock, used, or leaving (being given back).
// It is written before Docker hears of an address.
//
// # Life of an address on this host
//
//	(nobody's) ──claim──> stock ──RequestAddress──> used
//	    ^                  │  ^────ReleaseAddress─────┘
//	    └──deleted── leaving
//
// An address leaves in two steps because a delete that timed out may still be
// carried out later: once a delete has been sent, the address is not used again
// until its key is known to be gone. A create that timed out is harmless: if the
// key appears later it names this host, and the next check takes it into stock.
//
// Nothing is remembered as work to do. Run compares the two stores and what
// Docker holds, and moves them together; killing it at any point loses nothing.
package ipam
