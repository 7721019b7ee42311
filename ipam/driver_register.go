package ipam

import (
	"context"

	"github.com/docker/go-plugins-helpers/ipam"

	"github.com/weft-net/weft/driver/plugin"
)

// Register adds every method of the protocol to s.
func (d *Driver) Register(s *plugin.Server) {
	s.Implements("IpamDriver")
	plugin.Handle(s, "IpamDriver.GetCapabilities", func(ctx context.Context, _ *plugin.None) (*ipam.CapabilitiesResponse, error) {
		return d.GetCapabilities(ctx)
	})
	plugin.Handle(s, "IpamDriver.GetDefaultAddressSpaces", func(ctx context.Context, _ *plugin.None) (*ipam.AddressSpacesResponse, error) {
		return d.GetDefaultAddressSpaces(ctx)
	})
	plugin.Handle(s, "IpamDriver.RequestPool", d.RequestPool)
	plugin.Handle(s, "IpamDriver.RequestAddress", d.RequestAddress)
	plugin.Handle(s, "IpamDriver.ReleasePool", func(ctx context.Context, r *ipam.ReleasePoolRequest) (*plugin.None, error) {
		return &plugin.None{}, d.ReleasePool(ctx, r)
	})
	plugin.Handle(s, "IpamDriver.ReleaseAddress", func(ctx context.Context, r *ipam.ReleaseAddressRequest) (*plugin.None, error) {
		return &plugin.None{}, d.ReleaseAddress(ctx, r)
	})
}
