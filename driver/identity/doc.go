// Package identity says which host this is: a host is its machine and its state
// together. The state names the machine that it belongs to, and the store names,
// for each host, the machine, the incarnation of its state and the process that
// have the host's place. From these, and from the lease, Judge decides whether a
// process may take the place. It does not ask the store itself.
package identity
