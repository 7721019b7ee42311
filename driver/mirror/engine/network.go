package engine

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
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

// Network is one network as this host's Docker has it.
type Network struct {
	ID         string // Docker's
	Name       string
	Driver     string // see DriverName
	IPAM       string // its IPAM driver, see DriverName
	Created    time.Time
	Subnets    []overlay.Subnet // IPv4 before IPv6
	Options    map[string]string
	Labels     map[string]string
	Attachable bool
	IPv6       bool
	Internal   bool
	Swarm      bool // its scope is Swarm's: Swarm makes and removes it
}

// DriverName is the form in which drivers' names are compared: Docker takes a
// managed plugin's name with and without its tag.
func DriverName(name string) string { return strings.TrimSuffix(name, ":latest") }

// Networks lists all networks of any driver, without their containers.
func (d *Client) Networks(ctx context.Context) ([]Network, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	list, err := d.api.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Docker's networks: %w", err)
	}
	out := make([]Network, 0, len(list))
	for _, n := range list {
		out = append(out, parseNetwork(n))
	}
	return out, nil
}

func parseNetwork(n network.Summary) Network {
	out := Network{
		ID: n.ID, Name: n.Name, Driver: DriverName(n.Driver), IPAM: DriverName(n.IPAM.Driver), Created: n.Created,
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

// parseIPAM parses one subnet as Docker shows it. If the driver has chosen the
// gateway, Docker may show none, or one with a prefix length.
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

// Remove removes the network. It is no error if the network is gone. While a
// container uses it, Docker refuses with an errdefs.ErrPermissionDenied.
func (d *Client) Remove(ctx context.Context, dockerID string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := d.api.NetworkRemove(ctx, dockerID); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// Create makes the cluster's network in this Docker, and gives Docker's id of it.
func (d *Client) Create(ctx context.Context, driver, ipam string, n overlay.Network) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	options := createOptions(driver, ipam, n)
	// An older Docker does not read the field, and asks for an IPv4 pool.
	if v := d.Version(); options.EnableIPv4 != nil && versions.LessThan(v, ipv6AloneSince) {
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
	if overlay.GeneratedID(n.ID) {
		options[option.VNIList] = strconv.FormatUint(uint64(n.VNI), 10)
	} else {
		options[option.ID], own[option.ID] = n.ID, n.ID
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
