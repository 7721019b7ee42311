// Package fastpath carries packets between containers around the bridge, the VXLAN
// device and the host's netfilter, by programs in the kernel (BPF).
//
// It is an addition: what a program does not know for sure, it leaves to the devices
// that it goes around, so each host may have it or not, and the packets on the wire
// are the same. TCP and UDP in one piece from a port's own MAC and addresses go the
// fast way; ARP, neighbour discovery, ICMP, broadcast, multicast, fragments, IP
// options, what is too large and what is sent to an unknown MAC do not. No program
// drops what a container or another host sends.
//
// To a host on the same segment packets may go without a tunnel, for as long as somebody
// renews a lease. These have no slow way: so who takes them goes on for a while after
// Shut, and nobody gives a lease without having seen a Probe come back.
//
// The programs hang on five kinds of links, see bpf/fastpath.c. They stay there when
// the process ends, with their tables, and go on for as long as Renew has said. Then
// everything takes the slow way: so tables that nobody keeps up, because weft hangs,
// is away or is an older one, mislead nobody. A process that starts makes programs and
// tables of its own and puts them in the place of the former ones, each at once.
//
// Per endpoint of another host it costs one entry of the table of places (36 bytes and
// the kernel's overhead), and one of the table of homes (52 bytes) per address; per host and
// network one of the members, one of the MACs and one of the leases.
package fastpath
