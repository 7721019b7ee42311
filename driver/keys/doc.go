// Package keys decides by which of the cluster's keys direct messages are sealed and
// opened, and when the cluster gets another one. All in it are values: there is no
// store, no clock and no lock.
//
// # How a key is changed
//
// The record meta has the cluster's keys, the newest first, and how often there was a
// new one, the generation. Each host says in its own record what it has taken over
// from there (overlay.Keys). A change needs no moment at which all hosts do something
// together:
//
//  1. Somebody puts a new key before the others. Whoever sees it in another host's
//     record reads it, opens with all of them from then on, and says so.
//  2. Each message is sealed by the newest key that its receiver is known to have, from
//     its record or from what it has sealed itself. A host that has not heard of the
//     new key goes on hearing, and being heard, by the former one.
//  3. A key goes when no host needs it, or an older one, any more, see State.Pruned.
//     Hosts open with it for Linger longer, for what is on its way.
//
// A host that has left knows the keys of its time. So its record says which was the
// newest, and as long as that is the newest still, a change is due: whoever sees it
// makes it, by compare-and-set, and nobody has to remember it.
package keys
