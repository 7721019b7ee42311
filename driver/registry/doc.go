// Package registry holds what this host knows: its own networks, endpoints and
// identity, durable on this host before anything else happens, and a replica
// of the other hosts' records. It answers from memory, writes to the host's
// state first, and leaves it to Run to bring the cluster's store up to date and
// to follow it.
//
// # Who writes what
//
//	host/<host>/doc      only <host>: its VTEP and a digest of each attachment
//	host/<host>/live     held under <host>'s lease
//	host/<host>/dead     any other host: it was declared dead, see reap.go
//	host/<host>/owner    by compare-and-set: who has the place, and former incarnations, see place.go
//	host/<host>/back     only <host>: it has deleted that mark
//	host/.heard/<host>   held under the lease of a host that hears <host>, see veto.go
//	at/<host>/<network>  only <host>: its endpoints and claimed addresses there
//	probe/<host>         only <host>: what has come to it while paths are probed
//	net/<id>             anybody, by compare-and-set: the network, or its tombstone
//	name/<name>          anybody, create only: the id of the network so named
//	vni/<vni>            anybody, create only: the id of the network that has it
//	meta                 anybody, by compare-and-set: the cluster's identity, and its keys
//	net/.epoch           anybody, by compare-and-set: the store's epoch, see package epoch
//	pool/…, addr/…       anybody, by compare-and-set, written by package ipam: pools, and who has an address
//
// Only the last six are contended. A host's own records go out from state,
// never from a queue of events, so a write that failed is repeated until what
// the store has is what the host has.
//
// # The rooms
//
// Registry is a front: it has the stores, the tasks of Run, and one lock. What decides is
// below it, in values without store, lock or clock that Registry's lock guards: package
// record says how a record looks, sequence which of this host's documents is newer, peers
// what the other hosts say and whether they live, and epoch whether the store still has
// its data and what may be claimed.
//
// # What a record says
//
// A record that is absent says nothing: a network is gone only when its tombstone says
// so, and tombstones stay for 30 days at least. That makes a wiped or restored store
// harmless. A record that cannot be used says nothing either, see driver/format: it is
// passed over, and what was known before stays.
package registry
