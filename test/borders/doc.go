// Package borders proves that no frame gets into a network of weft's that does not
// belong there. On a lab of two hosts, both members of two networks, attackers send
// crafted frames: containers with and without the right to forge, processes of the
// host, a machine on the wire that is no member, and a container of one network at
// its own port. AF_PACKET sockets in all networks and their containers count what
// gets in, by a mark in each frame.
//
// The same is done with each firewall that Docker makes, over IPv4 and IPv6. What
// the members send must arrive all the while, and with the guard taken away each
// attacker must get in: else a count of 0 would prove nothing.
//
// The other direction is tried too: a container that has the host's firewall take
// what tunnels bring for answers to it must hear nothing.
//
// It has nothing but tests. Package craft makes the frames, the command shooter
// sends them.
package borders
