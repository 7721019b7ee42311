package driver

import (
	"context"
	"net/netip"

	"github.com/docker/go-plugins-helpers/network"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
)

// Registry is where the driver's records go.
type Registry interface {
	Create(ctx context.Context, dockerID string, want overlay.Network) (overlay.Network, error)
	Delete(ctx context.Context, dockerID string) error
	OfDocker(dockerID string) (overlay.Network, bool)
	// Recorded finds the cluster's network that Create would join, if there is
	// one. mirrored: it is weft that has Docker ask, and no person.
	Recorded(dockerID string, want overlay.Network) (n overlay.Network, mirrored bool)
	Self() overlay.Host

	CreateEndpoint(ctx context.Context, e overlay.Endpoint) error
	DeleteEndpoint(ctx context.Context, id string) error
	Endpoint(id string) (overlay.Endpoint, bool)
	Join(ctx context.Context, id, sandbox string) (overlay.Endpoint, error)
	Leave(id string) (overlay.Endpoint, error)
}

// Kernel waits for the pass that makes a network's kernel state match.
type Kernel interface {
	Sync(ctx context.Context, network string) error
}

// Pools completes a network's subnet with what only the IPAM side knows.
type Pools interface {
	// Subnet has the pool's --ip-range as this host's Docker asked for it, and
	// whether a person has named the subnet. false: the pool is not weft's.
	Subnet(pool netip.Prefix) (overlay.Subnet, bool)
}

// Driver answers the NetworkDriver calls.
type Driver struct {
	name     string
	registry Registry
	kernel   Kernel
	pools    Pools
	docker   func() string
	log      logrus.FieldLogger
}

// New makes a Driver that Docker knows under name. docker gives the version of
// Docker's API as it was last seen, and nothing if it is not known; it does not
// ask Docker.
func New(name string, r Registry, k Kernel, p Pools, docker func() string, log logrus.FieldLogger) *Driver {
	return &Driver{name: name, registry: r, kernel: k, pools: p, docker: docker, log: log}
}

// Register adds every method of the protocol to s.
func (d *Driver) Register(s *plugin.Server) {
	s.Implements("NetworkDriver")
	plugin.Handle(s, "NetworkDriver.GetCapabilities", capabilities)
	plugin.Handle(s, "NetworkDriver.CreateNetwork", d.createNetwork)
	plugin.Handle(s, "NetworkDriver.DeleteNetwork", d.deleteNetwork)
	plugin.Handle(s, "NetworkDriver.AllocateNetwork", allocateNetwork)
	plugin.Handle(s, "NetworkDriver.FreeNetwork", ignore[network.FreeNetworkRequest])
	plugin.Handle(s, "NetworkDriver.CreateEndpoint", d.createEndpoint)
	plugin.Handle(s, "NetworkDriver.DeleteEndpoint", d.deleteEndpoint)
	plugin.Handle(s, "NetworkDriver.EndpointOperInfo", d.endpointInfo)
	plugin.Handle(s, "NetworkDriver.Join", d.join)
	plugin.Handle(s, "NetworkDriver.Leave", d.leave)
	plugin.Handle(s, "NetworkDriver.DiscoverNew", ignore[network.DiscoveryNotification])
	plugin.Handle(s, "NetworkDriver.DiscoverDelete", ignore[network.DiscoveryNotification])
	// Docker sends these two only for the endpoint that is a container's
	// gateway, which weft's never is: docker_gwbridge publishes the ports.
	plugin.Handle(s, "NetworkDriver.ProgramExternalConnectivity", ignore[network.ProgramExternalConnectivityRequest])
	plugin.Handle(s, "NetworkDriver.RevokeExternalConnectivity", ignore[network.RevokeExternalConnectivityRequest])
}

// capabilities says that Docker keeps a network on each host by itself (weft
// mirrors it) while names and peers reach across hosts. A driver of global
// scope cannot be used without Swarm before Docker 24.
func capabilities(context.Context, *plugin.None) (*network.CapabilitiesResponse, error) {
	return &network.CapabilitiesResponse{Scope: network.LocalScope, ConnectivityScope: network.GlobalScope}, nil
}

// allocateNetwork is asked by a Swarm manager; what it returns replaces the
// options that nodes get.
func allocateNetwork(_ context.Context, req *network.AllocateNetworkRequest) (*network.AllocateNetworkResponse, error) {
	return &network.AllocateNetworkResponse{Options: req.Options}, nil
}

func ignore[Req any](context.Context, *Req) (*plugin.None, error) { return &plugin.None{}, nil }
