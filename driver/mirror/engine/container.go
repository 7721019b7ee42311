package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// Names gives all names of a container's endpoint, the container's first.
// Docker answers only when it is done with starting or connecting the container.
func (d *Client) Names(ctx context.Context, id, endpoint string) ([]string, error) {
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

// NamesBefore gives all names of a container that was not started yet, by the
// networks that it will be in. The keys are the networks' names or ids, as in the
// request that created the container.
func (d *Client) NamesBefore(ctx context.Context, id string) (map[string][]string, error) {
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

// Sandbox gives the path of a running container's network namespace, and all
// names of its endpoint. Docker answers only when it is done with the container.
func (d *Client) Sandbox(ctx context.Context, id, endpoint string) (path string, names []string, err error) {
	c, err := d.container(ctx, id)
	if err != nil {
		return "", nil, err
	}
	for _, n := range c.NetworkSettings.Networks {
		if n != nil && n.EndpointID == endpoint && c.State.Running && c.NetworkSettings.SandboxKey != "" {
			return c.NetworkSettings.SandboxKey, allNames(c.Name, c.ID, c.Config.Hostname, n.Aliases, n.DNSNames), nil
		}
	}
	return "", nil, fmt.Errorf("container %.12s does not run with endpoint %.12s any more", id, endpoint)
}

// container inspects a container. The parts that this package reads are not nil,
// except HostConfig.
func (d *Client) container(ctx context.Context, id string) (container.InspectResponse, error) {
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

// allNames gives at least two names: the container's and its short id. Docker
// before version 25 tells the names of an endpoint only in parts. They are put
// together in Docker's order, so that they are the same before and after a start.
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
