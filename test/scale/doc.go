// Command scale simulates a cluster of many hosts on one machine, and prints what it
// costs: bytes and requests at Consul, CPU and memory of a host, direct messages, and how
// long hosts take to know what has changed.
//
// Each host has the parts of a real weft, put together as cmd/weft does it: state,
// registry, address allocator, direct messages, the plan for the kernel, names, and the
// plugin's calls. There are three real Consul servers. What is not real:
//
//   - The kernel takes each plan and does nothing with it. So the cost of a pass is that of
//     the snapshot and of the plan.
//   - Docker is a loop that makes the cluster's networks on its host, and starts and
//     stops containers, by the calls that Docker makes. Names are made and asked by nobody.
//   - All hosts are in one process, each at an address of its own in a network
//     namespace, and share its CPUs with Consul. So CPU and memory of a host are the process's, divided by
//     the number of hosts.
//   - States are in memory, where a write is durable at once.
//
// A run is made of phases, as workload.go has them. After each phase everybody must know
// everything, and no address may be claimed twice. That is all that TestScale asks; how
// fast the hosts were is for people to read.
package main
