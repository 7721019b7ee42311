// Package consul is a kvstore.Store in Consul's KV: the records of a cluster of
// hosts. It is the only importer of Consul's API.
//
// TLS, ACL token, namespace and partition come from the standard CONSUL_*
// variables. What a token for all hosts needs, with the prefix weft, is
//
//	key_prefix     "weft/" { policy = "write" }
//	session_prefix "weft-" { policy = "write" }
//	node_prefix    "weft-" { policy = "write" }
//
// and what one for a single host needs stands in docs/operations.md. Who looks in a
// transaction whether a key is absent needs the right to write it.
//
// # What Consul does, and what follows
//
// All reads are of the leader: a follower learns of a commit 50 to 100 ms late,
// and one without a leader answers with what it last knew. Get and List ask for
// Consul's "consistent" mode: in "default", which Wait uses, a leader answers from
// a part of its log for up to a second after its start, and for a moment after it
// has been replaced.
//
// A request that Consul cannot decide now hangs for up to half a minute, so
// each call has a deadline of its own and several servers are tried within it.
// A transaction with conditions is not sent again once it may have been
// received: the second would fail on what the first has done.
//
// A blocking read with an index of before Consul lost its data waits for its
// whole time. A lost lease is the sign: it ends all Waits with ErrUnavailable.
//
// A blocking read of a prefix without keys returns at every write in the
// datacenter. Wait lets at most one in a second pass, and none through to the
// caller.
//
// A lease is a session on a catalog node of its own, weft-NAME: one on the
// server's node would end with that server.
package consul
