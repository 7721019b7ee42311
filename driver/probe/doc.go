// Package probe finds out how packets fare between each two hosts, in each
// direction, through the same tunnels as containers' packets. It does so only when
// somebody asks.
//
// # How
//
// A host that asks says so in its record (registry.Probe). Every host that sees this
// puts the probe network (overlay.ProbeNetwork) into its kernel until the asker says
// that it has its answer, and for 20 s at most. Like any network it has a namespace, a
// bridge and a VXLAN device. From its namespace each host sends beacons to each other
// host a few times a second. Some are small and some just fit the networks' MTU, some
// have a UDP checksum and some have none. Each has a checksum of its own besides. So
// the receiver can tell apart:
//
//	nothing comes                             the tunnel is cut in this direction
//	small beacons come, full ones do not      the path's MTU is too small
//	only those without a UDP checksum come    something on the way damages packets, or
//	                                          an interface computes wrong checksums
//
// If full beacons do not come, the sender searches for the largest size that comes. The
// receiver's beacons tell it which sizes have come.
//
// # What others hear
//
// Only the receiver knows what has come. What a host has heard is its Row. The host
// sends its Row in its own full-size beacons and writes it into the store
// (probe/<host>), so the asker gets it by one way when the other is cut. A host whose
// Row does not come was not checked: it is down, of an older version, or cut off.
package probe
