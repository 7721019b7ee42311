// Package mirror keeps this host's Docker and the cluster's networks the same,
// over Docker's API. It tells the cluster the names that Docker never tells a
// driver, creates the networks of other hosts on this host, removes networks that
// are gone, and notices what happened while weft was away.
//
// It looks at the state of both sides as a whole, decides what to do (decide is
// a pure function), does it, and begins again when something changes. An event
// says that it is time to look, never what to do. Nothing in a driver call
// waits for this package, and no lock is held while Docker is asked: creating a
// network here calls weft's own driver in turn.
//
// What else needs Docker's API has rooms of its own below, which run beside the
// networks' passes in each session: engine (the API), match (which network is
// which), names (containers' names), takeover (endpoints whose records were lost)
// and restart (containers that Docker has given up).
//
// Who is right:
//
//   - A network is removed from Docker only if Docker uses weft's driver for it
//     and either the cluster has its tombstone, or another network of the
//     cluster has its name and all that was asked of this one. Docker itself
//     refuses while a container uses it.
//   - A network of Swarm's scope is named in the cluster and otherwise Swarm's
//     own business.
//   - A network of another driver is never touched. If it has a name that the
//     cluster uses, that is a conflict, see Status.
//   - What Docker has lost comes back from the cluster.
package mirror
