package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/docker/go-plugins-helpers/ipam"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/ipam/space"
)

// Names of the address spaces. Docker hands them back with every pool request,
// so a network driver can tell a pool of weft's from one of Docker's own.
const (
	LocalSpace  = "weft"
	GlobalSpace = "weft-global"
)

// Keys and values of Docker's options for an address.
const (
	typeOption     = "RequestAddressType"
	typeGateway    = "com.docker.network.gateway"
	endpointOption = "com.docker.network.endpoint.name"       // Docker 29 and later
	macOption      = "com.docker.network.endpoint.macaddress" // with RequiresMACAddress only
)

// Driver is the edge to Docker: it parses requests into the Allocator's terms.
// A failure is one sentence for the user.
type Driver struct {
	allocator *Allocator
	log       logrus.FieldLogger
}

// NewDriver gives a Driver that serves from the allocator.
func NewDriver(a *Allocator, log logrus.FieldLogger) *Driver { return &Driver{allocator: a, log: log} }

// GetCapabilities says that weft needs no MAC address to choose an address. It
// keeps its own records, so Docker need not replay its requests.
func (d *Driver) GetCapabilities(context.Context) (*ipam.CapabilitiesResponse, error) {
	return &ipam.CapabilitiesResponse{}, nil
}

// GetDefaultAddressSpaces gives LocalSpace and GlobalSpace.
func (d *Driver) GetDefaultAddressSpaces(context.Context) (*ipam.AddressSpacesResponse, error) {
	return &ipam.AddressSpacesResponse{
		LocalDefaultAddressSpace: LocalSpace, GlobalDefaultAddressSpace: GlobalSpace,
	}, nil
}

// RequestPool gives a pool for a network that is being made.
func (d *Driver) RequestPool(ctx context.Context, r *ipam.RequestPoolRequest) (*ipam.RequestPoolResponse, error) {
	if r.AddressSpace != LocalSpace && r.AddressSpace != GlobalSpace {
		return nil, fmt.Errorf("unknown address space %q: weft has %q and %q", r.AddressSpace, LocalSpace, GlobalSpace)
	}
	req := PoolRequest{V6: r.V6, Options: r.Options}
	var err error
	if r.Pool != "" {
		if req.Subnet, err = space.ParsePrefix(r.Pool); err != nil {
			return nil, err
		}
	}
	if r.SubPool != "" {
		if req.Range, err = netip.ParsePrefix(r.SubPool); err != nil {
			return nil, fmt.Errorf("--ip-range %q is no prefix: write it like 10.1.0.0/24", r.SubPool)
		}
	}
	id, err := d.allocator.RequestPool(ctx, req)
	if err != nil {
		return nil, err
	}
	d.log.WithField("pool", id.String()).Debug("pool requested")
	return &ipam.RequestPoolResponse{PoolID: id.String(), Pool: id.Subnet.String()}, nil
}

// ReleasePool takes a pool back. Any that is not known is fine.
func (d *Driver) ReleasePool(ctx context.Context, r *ipam.ReleasePoolRequest) error {
	id, err := space.ParsePoolID(r.PoolID)
	if err != nil {
		return err
	}
	d.log.WithField("pool", r.PoolID).Debug("pool released")
	return d.allocator.ReleasePool(ctx, id)
}

// RequestAddress gives an address for an endpoint, or for the network itself.
func (d *Driver) RequestAddress(ctx context.Context, r *ipam.RequestAddressRequest) (*ipam.RequestAddressResponse, error) {
	id, err := space.ParsePoolID(r.PoolID)
	if err != nil {
		return nil, err
	}
	req := AddressRequest{Pool: id, Gateway: r.Options[typeOption] == typeGateway}
	req.Endpoint = r.Options[endpointOption] != "" || r.Options[macOption] != ""
	if r.Address != "" {
		if req.Addr, err = parseAddr(r.Address); err != nil {
			return nil, err
		}
	}
	prefix, err := d.allocator.RequestAddress(ctx, req)
	if err != nil {
		return nil, err
	}
	d.log.WithFields(logrus.Fields{"pool": r.PoolID, "address": prefix.String()}).Debug("address requested")
	return &ipam.RequestAddressResponse{Address: prefix.String()}, nil
}

// ReleaseAddress takes an address back. Any that is not in use is fine.
func (d *Driver) ReleaseAddress(ctx context.Context, r *ipam.ReleaseAddressRequest) error {
	id, err := space.ParsePoolID(r.PoolID)
	if err != nil {
		return err
	}
	addr, err := parseAddr(r.Address)
	if err != nil {
		return err
	}
	d.log.WithFields(logrus.Fields{"pool": r.PoolID, "address": r.Address}).Debug("address released")
	return d.allocator.ReleaseAddress(ctx, id, addr)
}

// parseAddr takes an address with or without a length, as Docker's versions
// send it.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		p, perr := netip.ParsePrefix(s)
		if perr != nil {
			return netip.Addr{}, fmt.Errorf("%q is no IP address", s)
		}
		a = p.Addr()
	}
	if a.Zone() != "" {
		return netip.Addr{}, errors.New("an address with a zone (" + s + ") cannot be handed out")
	}
	return a.Unmap(), nil
}
