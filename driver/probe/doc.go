// Package probe finds out how packets fare between each two hosts, in each
// direction, through the tunnels that containers' packets take. It does so only
// when somebody asks.
//
// # How
//
// A host that asks says so in its record (registry.Probe), and until it says that
// it has its answer, or for 20 s, every host that sees it has the probe network
// in its kernel (overlay.ProbeNetwork): a namespace, a bridge and a VXLAN device, as any
// network has them. From within it each host sends beacons to each other host a
// few times a second: small ones and such as just fit the networks' MTU, with a
// UDP checksum and without. All have a checksum of their own besides, so the
// receiver can tell apart
//
//	nothing comes                     the tunnel is cut in this direction
//	small ones come, full ones don't  the path's MTU is too small
//	those without a checksum come     something on the way damages packets, or
//	                                  an interface computes wrong checksums
//
// If full ones do not come, the sender looks for the largest that do, by what
// the receiver's beacons say of it.
//
// # What others hear
//
// Only the receiver knows what has come. What a host has heard is its Row. It
// is in the host's own full-size beacons and in the store (probe/<host>), so the
// asker has it by one way when the other is cut. Hosts whose Row does not come
// were not checked: they are down, of an older version, or cut off altogether.
package probe
