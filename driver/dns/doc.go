// Package dns answers names inside the containers' sandboxes: every container
// of a weft network finds the others of its networks, on whatever host.
//
// A container of a network of its own making asks Docker's resolver at
// 127.0.0.11. Inside each sandbox that has an endpoint of weft's, such queries
// are redirected to a responder, which answers the names of the sandbox's weft
// networks and passes everything else on to Docker's resolver, byte for byte in
// both directions; but what Docker says of such networks, before weft knows a
// container's name and for a moment after it is gone, may be kept no longer than
// weft's own answers. The redirection lapses by itself when weft does not renew
// it, so without weft a container is left with what Docker knows. For two minutes
// after weft was killed, names that only weft knows are refused in the kernel with
// SERVFAIL; else Docker's resolver would ask the site's nameservers for them.
//
//	container ─► 127.0.0.11:53 ─► responder ─► a name of its networks: answered
//	                                  │
//	                                  └─ marked ─► 127.0.0.11:53, Docker's resolver
//
// What a name is: the container's name, its aliases (compose services are
// such), its hostname and its short id, each also with the network's name
// behind a dot. A name that several endpoints share has all their addresses, in
// an order that turns. If several networks of a container have a name, the
// first network in the order of their names that has such an address answers,
// as Docker does it. Letters' case does not matter.
package dns
