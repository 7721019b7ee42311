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
// # The parts
//
// All parts stand on core: the two stores, the one lock, and the words by which one part
// wakes another. Each part owns its piece of what this host knows, and Open gives each
// what it needs of the others:
//
//	Registry     what Docker's driver, the mirror and people ask
//	Claims       what the IPAM side asks: may this host claim, and who has an address
//	Direct       what hosts tell each other directly, for package push
//	Keyring      the cluster's identity and keys, and their change
//	Departure    how this host goes, for a while or for good
//	directory    where networks and this host's endpoints are looked up
//	documents    this host's attachments as others are told of them
//	publication  how far the store has what this host told it
//	epochs, place, contact, rebuild
//	             what claims wait for: the store's epoch, this host's place, the store's
//	             answer, this host's lost records
//
// Run's tasks (publisher, remover, follower, reader, leaseHolder, reaper, vetoes, epochKeeper,
// tombstoneKeeper, flusher, silence) have the parts that they need and no others.
//
// # The rooms
//
// What decides is below the parts, in values without store, lock or clock that core's lock
// guards: package record says how a record looks, networks which networks there are and
// what was asked of them, endpoints what this host's containers have, sequence which of
// this host's documents is newer, peers what the other hosts say and whether they live,
// and epoch whether the store still has its data and what may be claimed.
//
// # What a record says
//
// A record that is absent says nothing: a network is gone only when its tombstone says
// so, and tombstones stay for 30 days at least. That makes a wiped or restored store
// harmless. A record that cannot be used says nothing either, see driver/format: it is
// passed over, and what was known before stays.
package registry
