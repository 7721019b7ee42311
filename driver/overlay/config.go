package overlay

import (
	"net/netip"
	"reflect"
)

// Config is all that one host's kernel must contain for weft: a namespace with
// weft's mark that is not listed must not exist. Slices are sorted, so equal configs
// are equal values.
type Config struct {
	VTEP     netip.Addr      // local underlay address: source of the tunnels
	Port     uint16          // VXLAN UDP port
	Hosts    []netip.Addr    // VTEPs of the cluster's hosts, this one's too; sorted
	Networks []NetworkConfig // sorted by ID

	// Partial: this host has lost its records and has not got all of them back.
	// What is listed must be there, and nothing is removed.
	Partial bool
}

// NetworkConfig is one network's part of the kernel.
type NetworkConfig struct {
	ID      string
	VNI     uint32
	MTU     int          // bytes, of every device of the network
	Guarded bool         // ports send only from their own MAC and addresses
	Ports   []Port       // local endpoints, sorted by Endpoint
	Remotes []Remote     // sorted by MAC
	Flood   []netip.Addr // VTEPs that get broadcast, multicast and unknown unicast; sorted
	Members []netip.Addr // VTEPs whose packets are accepted for this VNI; sorted, a superset of Flood
	Gone    []netip.Addr // addresses of this host that no container has; what is sent to them is refused. Sorted

	// Address is the bridge's own address. Only the probe network has one; elsewhere
	// it is the zero Prefix.
	Address netip.Prefix

	// Direct are other hosts of the network that take its packets without a tunnel;
	// sorted by VTEP. None: all of its packets go through tunnels.
	Direct []NIC
}

// NIC is the interface at which a host takes packets without a tunnel.
type NIC struct {
	VTEP netip.Addr
	MAC  MAC
}

// Port is one local endpoint: a veth pair PortLink/ContainerLink.
type Port struct {
	Endpoint string
	MAC      MAC
	Addrs    []netip.Prefix // with the length of their subnet
	Sandbox  string         // path of the container's namespace
	// Keep: Docker is taking the pair down, so it is left alone if it exists, and not
	// made if it does not.
	Keep bool
}

// Remote is one forwarding entry: a MAC behind a VTEP, and the addresses for
// which ARP and neighbour solicitations are answered with it.
type Remote struct {
	MAC   MAC
	VTEP  netip.Addr
	Addrs []netip.Addr // sorted
}

// Equal says whether both ask for the same kernel state.
func (n NetworkConfig) Equal(o NetworkConfig) bool { return reflect.DeepEqual(n, o) }
