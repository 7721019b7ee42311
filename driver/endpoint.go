package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/docker/docker/api/types/versions"
	"github.com/docker/go-plugins-helpers/network"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
)

func (d *Driver) createEndpoint(ctx context.Context, req *network.CreateEndpointRequest) (*network.CreateEndpointResponse, error) {
	n, err := d.network(req.NetworkID)
	if err != nil {
		return nil, fmt.Errorf("create endpoint: %w", err)
	}
	if req.EndpointID == "" {
		return nil, errors.New("create endpoint: Docker named no endpoint id")
	}
	if err := d.checkEndpoint(req.Options); err != nil {
		return nil, fmt.Errorf("create endpoint %.12s in network %q: %w", req.EndpointID, n.Title(), err)
	}
	e, err := parseEndpoint(n, req)
	if err != nil {
		return nil, fmt.Errorf("create endpoint %.12s in network %q: %w", req.EndpointID, n.Title(), err)
	}
	if err := d.registry.CreateEndpoint(ctx, e); err != nil {
		return nil, fmt.Errorf("create endpoint in network %q: %w", n.Title(), err)
	}
	// Docker refuses an answer that repeats what it has given itself.
	answer := &network.EndpointInterface{}
	if req.Interface == nil || req.Interface.MacAddress == "" {
		answer.MacAddress = e.MAC.String()
	}
	return &network.CreateEndpointResponse{Interface: answer}, nil
}

// checkEndpoint refuses an option that a person gave and that would not be kept.
func (d *Driver) checkEndpoint(options map[string]any) error {
	api := d.docker()
	sets := api == "" || !versions.LessThan(api, option.SysctlsSince)
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if j := option.Endpoint(key, options[key], sets); j.Verdict == option.Broken {
			return refused(j)
		}
	}
	return nil
}

// parseEndpoint gives the record that the request asks for.
func parseEndpoint(n overlay.Network, req *network.CreateEndpointRequest) (overlay.Endpoint, error) {
	e := overlay.Endpoint{ID: req.EndpointID, Network: n.ID}
	if req.Interface == nil {
		return e, errors.New("it has no address from Docker")
	}
	for _, text := range []string{req.Interface.Address, req.Interface.AddressIPv6} {
		if text == "" {
			continue
		}
		a, err := parseAddr(text)
		if err != nil {
			return e, fmt.Errorf("%q is no address", text)
		}
		if !slices.ContainsFunc(n.Subnets, func(s overlay.Subnet) bool { return s.Prefix.Contains(a) }) {
			return e, fmt.Errorf("address %s is in none of its subnets", a)
		}
		e.Addrs = append(e.Addrs, a)
	}
	if len(e.Addrs) == 0 {
		return e, errors.New("it has no address from Docker")
	}
	slices.SortFunc(e.Addrs, netip.Addr.Compare)
	e.MAC = overlay.MACOf(n.ID, e.Addrs[0])
	if text := req.Interface.MacAddress; text != "" {
		mac, err := overlay.ParseMAC(text)
		if err != nil {
			return e, err
		}
		e.MAC = mac
	}
	return e, nil
}

func (d *Driver) deleteEndpoint(ctx context.Context, req *network.DeleteEndpointRequest) (*plugin.None, error) {
	if err := d.registry.DeleteEndpoint(ctx, req.EndpointID); err != nil {
		return nil, fmt.Errorf("delete endpoint %.12s: %w", req.EndpointID, err)
	}
	return &plugin.None{}, nil // the links go with the next pass, which nobody needs to wait for
}

func (d *Driver) endpointInfo(_ context.Context, req *network.InfoRequest) (*network.InfoResponse, error) {
	e, err := d.endpoint(req.NetworkID, req.EndpointID)
	if err != nil {
		return nil, fmt.Errorf("endpoint info: %w", err)
	}
	return &network.InfoResponse{Value: map[string]string{
		"weft.network": e.Network, "weft.phase": string(e.Phase), "weft.mac": e.MAC.String(), "weft.link": overlay.PortLink(e.ID),
	}}, nil
}

func (d *Driver) join(ctx context.Context, req *network.JoinRequest) (*network.JoinResponse, error) {
	if _, err := d.endpoint(req.NetworkID, req.EndpointID); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	n, _ := d.registry.OfDocker(req.NetworkID)
	e, err := d.registry.Join(ctx, req.EndpointID, req.SandboxKey)
	if err != nil {
		return nil, fmt.Errorf("join endpoint %.12s to network %q: %w", req.EndpointID, n.Title(), err)
	}
	if err := d.kernel.Sync(ctx, e.Network); err != nil {
		return nil, fmt.Errorf("join endpoint %.12s to network %q: %w", e.ID, e.Network, err)
	}
	d.about(req.NetworkID, e).Info("Endpoint joined.")
	// No gateway: Docker then adds docker_gwbridge for the way outside and for -p.
	return &network.JoinResponse{InterfaceName: network.InterfaceName{
		SrcName: overlay.ContainerLink(e.ID), DstPrefix: option.PrefixOf(n),
	}}, nil
}

func (d *Driver) leave(ctx context.Context, req *network.LeaveRequest) (*plugin.None, error) {
	if _, known := d.registry.Endpoint(req.EndpointID); !known {
		return &plugin.None{}, nil
	}
	e, err := d.registry.Leave(req.EndpointID)
	if err != nil {
		return nil, fmt.Errorf("leave: %w", err)
	}
	d.refuse(ctx, req.NetworkID, e)
	d.about(req.NetworkID, e).Info("Endpoint left.")
	return &plugin.None{}, nil
}

// leaveWait is how long Docker waits at most until what comes for an endpoint that
// has left is refused. A pass takes some milliseconds.
const leaveWait = 200 * time.Millisecond

// refuse waits until the kernel refuses what comes for the endpoint. Docker takes the
// link away next, and a packet that is lost then is sent again only after a second.
func (d *Driver) refuse(ctx context.Context, dockerID string, e overlay.Endpoint) {
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	if err := d.kernel.Sync(ctx, e.Network); err != nil { // the next pass does it
		d.about(dockerID, e).WithError(err).Debug("An endpoint leaves before what comes for it is refused.")
	}
}

// network finds what Docker knows by its id here.
func (d *Driver) network(dockerID string) (overlay.Network, error) {
	n, ok := d.registry.OfDocker(dockerID)
	if !ok {
		return n, fmt.Errorf("weft does not know Docker's network %q on this host: see `weft network ls`", dockerID)
	}
	return n, nil
}

func (d *Driver) endpoint(dockerID, id string) (overlay.Endpoint, error) {
	n, err := d.network(dockerID)
	if err != nil {
		return overlay.Endpoint{}, err
	}
	e, ok := d.registry.Endpoint(id)
	if !ok || e.Network != n.ID {
		return e, fmt.Errorf("network %q has no endpoint %q on this host: see `weft endpoint ls`", n.Title(), id)
	}
	return e, nil
}

// about is the log for what happens to an endpoint of Docker's network.
func (d *Driver) about(dockerID string, e overlay.Endpoint) logrus.FieldLogger {
	n, _ := d.registry.OfDocker(dockerID) // for its name
	log := d.log.WithFields(logrus.Fields{"network": n.Name, "id": e.Network, "endpoint": e.ID, "addrs": e.Addrs})
	if e.Name == "" { // Docker's API tells it later
		return log
	}
	return log.WithField("container", e.Name)
}
