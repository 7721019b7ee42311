// Package bolt is a kvstore.Store in one file, for one process: every host's
// own durable state, and a whole cluster's records if the cluster is one host.
//
// Writes are on disk when Txn returns. Changes are noticed through this
// process's memory, and so are holds: a process that starts anew holds nothing.
package bolt
