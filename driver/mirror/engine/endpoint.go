package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// Shown is an endpoint as Docker shows it in a network.
type Shown struct {
	Network   string // name of Docker's network
	Name      string // of its container
	Container string // its id; "" while Docker is starting the container
}

// Endpoints gives the network's endpoints by id; false: Docker does not have
// the network.
func (d *Client) Endpoints(ctx context.Context, dockerID string) (map[string]Shown, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	n, err := d.api.NetworkInspect(ctx, dockerID, network.InspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("inspect Docker's network %.12s: %w", dockerID, err)
	}
	out := make(map[string]Shown, len(n.Containers))
	for key, c := range n.Containers {
		if strings.HasPrefix(key, "ep-") { // and the endpoint's id
			key = ""
		}
		out[c.EndpointID] = Shown{Network: n.Name, Name: c.Name, Container: key}
	}
	return out, true, nil
}

// Disconnect takes the container out of the network, by force: Docker's own
// records go even where the driver's answer is an error.
func (d *Client) Disconnect(ctx context.Context, dockerID, container string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := d.api.NetworkDisconnect(ctx, dockerID, container, true)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("disconnect container %.12s from Docker's network %.12s: %w", container, dockerID, err)
	}
	return nil
}

// Endpoint is an endpoint of a running container.
type Endpoint struct {
	ID        string
	Network   string   // Docker's id
	Container string   // Docker's id
	MAC       string   // as Docker writes it; "": Docker shows none
	Addrs     []string // as Docker writes them; some may be empty
}

// Running gives the endpoints of all running containers.
func (d *Client) Running(ctx context.Context) ([]Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	list, err := d.api.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Docker's containers: %w", err)
	}
	var out []Endpoint
	for _, c := range list {
		if c.NetworkSettings == nil {
			continue
		}
		for _, n := range c.NetworkSettings.Networks {
			if n == nil || n.EndpointID == "" {
				continue
			}
			out = append(out, Endpoint{
				ID: n.EndpointID, Network: n.NetworkID, Container: c.ID,
				MAC: n.MacAddress, Addrs: []string{n.IPAddress, n.GlobalIPv6Address},
			})
		}
	}
	return out, nil
}
