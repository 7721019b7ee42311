package overlay

import (
	"cmp"
	"fmt"
	"slices"
)

// BridgePorts is how many ports a Linux bridge can have: the number of a port has 10 bits,
// and no port is number 0 (BR_PORT_BITS and find_portno in the kernel's net/bridge).
const BridgePorts = 1<<10 - 1

// MostPorts is how many endpoints of one network can have a port on one host. The bridge
// has two ports for itself, VXLAN and RefusePort.
const MostPorts = BridgePorts - 2

// CheckPort says why the host has no port for one more endpoint of a network of which it
// has that many, as the end of a sentence about the network; nil: it has one.
func CheckPort(host string, have int) error {
	if have < MostPorts {
		return nil
	}
	return fmt.Errorf("it has %d containers on host %s already, and a bridge of Linux has no port for one more: start the container on another host, or take one out of the network on this host first", have, host)
}

// Ported divides the endpoints of one network on one host into those that have a port, or
// get one from Join on, and those for which the bridge has none. Whoever came first has
// one, so a newcomer takes nobody's port away. A lost endpoint is neither.
func Ported(endpoints []Endpoint) (ported, beyond []Endpoint) {
	ported = slices.DeleteFunc(slices.Clone(endpoints), func(e Endpoint) bool { return e.Phase == Lost })
	if len(ported) <= MostPorts {
		return ported, nil
	}
	slices.SortFunc(ported, func(a, b Endpoint) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return ported[:MostPorts:MostPorts], ported[MostPorts:]
}
