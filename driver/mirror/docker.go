package mirror

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// Bounds of single calls. Creating a network waits for other calls of the same
// name, and dockerd itself gives a driver call up to 2 minutes.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
)

// docker is Docker's API as this package uses it.
type docker struct {
	api *client.Client
}

// dial makes a client of its own for each session, since the version of the
// API is negotiated once, and Docker may have been replaced by another version.
func dial(ctx context.Context, host string) (*docker, error) {
	api, err := client.NewClientWithOpts(client.WithHost(host), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("make a client for Docker's API at %s: %w", host, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	answer, err := api.Ping(ctx)
	if err != nil {
		api.Close()
		return nil, err
	}
	api.NegotiateAPIVersionPing(answer)
	return &docker{api: api}, nil
}

func (d *docker) close() { d.api.Close() }

// events subscribes to what this package reacts to. The subscription stands
// when it returns. It ends with an error.
func (d *docker) events(ctx context.Context) (<-chan events.Message, <-chan error) {
	return d.api.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.NetworkEventType)),
		filters.Arg("type", string(events.ContainerEventType)),
		filters.Arg("event", string(events.ActionCreate)),
		filters.Arg("event", string(events.ActionDestroy)),
		filters.Arg("event", string(events.ActionConnect)),
		filters.Arg("event", string(events.ActionDisconnect)),
		filters.Arg("event", string(events.ActionStart)),
		filters.Arg("event", string(events.ActionRename)),
	)})
}

// networks lists all networks of any driver, without their containers.
func (d *docker) networks(ctx context.Context) ([]dockerNetwork, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	list, err := d.api.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Docker's networks: %w", err)
	}
	out := make([]dockerNetwork, 0, len(list))
	for _, n := range list {
		out = append(out, parseNetwork(n))
	}
	return out, nil
}

func parseNetwork(n network.Summary) dockerNetwork {
	out := dockerNetwork{
		ID: n.ID, Name: n.Name, Driver: driverName(n.Driver), IPAM: driverName(n.IPAM.Driver), Created: n.Created,
		Options: n.Options, Labels: n.Labels, Attachable: n.Attachable, IPv6: n.EnableIPv6,
		Internal: n.Internal, Swarm: n.Scope == "swarm",
	}
	for _, c := range n.IPAM.Config {
		if s, ok := parseIPAM(c); ok {
			out.Subnets = append(out.Subnets, s)
		}
	}
	slices.SortStableFunc(out.Subnets, func(a, b overlay.Subnet) int { return cmp.Compare(a.Prefix.Addr().BitLen(), b.Prefix.Addr().BitLen()) })
	return out
}

// parseIPAM parses one subnet as Docker shows it. Where the driver has chosen the
// gateway Docker may show none, or one with a length.
func parseIPAM(c network.IPAMConfig) (s overlay.Subnet, ok bool) {
	p, err := netip.ParsePrefix(c.Subnet)
	if err != nil {
		return s, false
	}
	s.Prefix = p.Masked()
	gateway, _, _ := strings.Cut(c.Gateway, "/")
	if a, err := netip.ParseAddr(gateway); err == nil {
		s.Gateway = a
	}
	if r, err := netip.ParsePrefix(c.IPRange); err == nil {
		s.Range = r.Masked()
	}
	for name, text := range c.AuxAddress {
		if a, err := netip.ParseAddr(text); err == nil {
			if s.Aux == nil {
				s.Aux = map[string]netip.Addr{}
			}
			s.Aux[name] = a
		}
	}
	return s, true
}

// sighting is an endpoint as Docker's network shows it.
type sighting struct {
	network   string // name of Docker's network
	name      string // of its container
	container string // its id; "" while Docker is still at it
}

// endpoints gives the network's endpoints by id; false: Docker does not have
// the network.
func (d *docker) endpoints(ctx context.Context, dockerID string) (map[string]sighting, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	n, err := d.api.NetworkInspect(ctx, dockerID, network.InspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("inspect Docker's network %.12s: %w", dockerID, err)
	}
	out := make(map[string]sighting, len(n.Containers))
	for key, c := range n.Containers {
		if strings.HasPrefix(key, "ep-") { // and the endpoint's id
			key = ""
		}
		out[c.EndpointID] = sighting{network: n.Name, name: c.Name, container: key}
	}
	return out, true, nil
}

// disconnect takes the container out of the network, by force: Docker's own
// records go even where the driver's answer is an error.
func (d *docker) disconnect(ctx context.Context, dockerID, container string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := d.api.NetworkDisconnect(ctx, dockerID, container, true)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("disconnect container %.12s from Docker's network %.12s: %w", container, dockerID, err)
	}
	return nil
}

// names gives all names of a container's endpoint, the container's first.
// Docker answers only when it is done with starting or connecting the container.
func (d *docker) names(ctx context.Context, id, endpoint string) ([]string, error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, n := range c.NetworkSettings.Networks {
		if n != nil && n.EndpointID == endpoint {
			return allNames(c.Name, c.ID, c.Config.Hostname, n.Aliases, n.DNSNames), nil
		}
	}
	return nil, fmt.Errorf("container %.12s does not have endpoint %.12s", id, endpoint)
}

// created gives all names of a container that was not started yet, by the
// networks that it is to be in; these are by name or id, as who made it wrote.
func (d *docker) created(ctx context.Context, id string) (map[string][]string, error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]string, len(c.NetworkSettings.Networks))
	for ref, n := range c.NetworkSettings.Networks {
		if n != nil {
			out[ref] = allNames(c.Name, c.ID, c.Config.Hostname, n.Aliases, n.DNSNames)
		}
	}
	return out, nil
}

// container tells all of a container; none of its parts that this package looks
// at is nil, but for HostConfig.
func (d *docker) container(ctx context.Context, id string) (container.InspectResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	c, err := d.api.ContainerInspect(ctx, id)
	if err != nil {
		return c, fmt.Errorf("inspect container %.12s: %w", id, err)
	}
	if c.ContainerJSONBase == nil || c.State == nil || c.Config == nil || c.NetworkSettings == nil {
		return c, fmt.Errorf("inspect container %.12s: Docker leaves parts of it out", id)
	}
	return c, nil
}

// allNames gives at least two: the container's name and its short id. Docker
// before version 25 tells the names of an endpoint only in parts; the order is
// Docker's, so that the names are the same before a start and after it.
func allNames(container, id, hostname string, lists ...[]string) []string {
	out := []string{strings.TrimPrefix(container, "/")}
	for _, name := range slices.Concat(lists...) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if short := id[:min(len(id), 12)]; !slices.Contains(out[1:], short) {
		out = append(out, short)
	}
	if hostname != "" && !slices.Contains(out, hostname) {
		out = append(out, hostname)
	}
	return out
}

// remove removes the network; one that is gone is fine. Docker refuses while
// a container uses it: that is an errdefs.ErrPermissionDenied.
func (d *docker) remove(ctx context.Context, dockerID string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := d.api.NetworkRemove(ctx, dockerID); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// create makes the cluster's network here, and gives Docker's id for it.
func (d *docker) create(ctx context.Context, driver, ipam string, n overlay.Network) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	options := createOptions(driver, ipam, n)
	// An older Docker does not read the field, and asks for an IPv4 pool.
	if v := d.api.ClientVersion(); options.EnableIPv4 != nil && versions.LessThan(v, ipv6AloneSince) {
		return "", fmt.Errorf("it has no IPv4 subnet, which needs Docker 28 or newer (API %s, and this one has %s)", ipv6AloneSince, v)
	}
	made, err := d.api.NetworkCreate(ctx, n.Name, options)
	return made.ID, err
}

// createOptions gives the request that makes n on this host.
func createOptions(driver, ipam string, n overlay.Network) network.CreateOptions {
	ipv4, ipv6 := false, n.IPv6
	config := make([]network.IPAMConfig, 0, len(n.Subnets))
	for _, s := range n.Subnets {
		ipv4, ipv6 = ipv4 || s.Prefix.Addr().Is4(), ipv6 || s.Prefix.Addr().Is6()
		config = append(config, ipamConfig(s))
	}
	options, own := maps.Clone(n.Options), map[string]string{}
	if options == nil {
		options = map[string]string{}
	}
	if registry.Generated(n.ID) {
		options[vniOption] = strconv.FormatUint(uint64(n.VNI), 10)
	} else {
		options[idOption], own[idOption] = n.ID, n.ID
	}
	out := network.CreateOptions{
		Driver: driver, Internal: n.Internal, Attachable: n.Attachable, EnableIPv6: &ipv6,
		Labels: n.Labels, Options: options,
		IPAM: &network.IPAM{Driver: ipam, Options: own, Config: config},
	}
	if !ipv4 && len(n.Subnets) > 0 {
		out.EnableIPv4 = &ipv4
	}
	return out
}

func ipamConfig(s overlay.Subnet) network.IPAMConfig {
	out := network.IPAMConfig{Subnet: s.Prefix.String()}
	if s.Gateway.IsValid() {
		out.Gateway = s.Gateway.String()
	}
	if s.Range.IsValid() && s.Range != s.Prefix {
		out.IPRange = s.Range.String()
	}
	for name, a := range s.Aux {
		if out.AuxAddress == nil {
			out.AuxAddress = map[string]string{}
		}
		out.AuxAddress[name] = a.String()
	}
	return out
}
