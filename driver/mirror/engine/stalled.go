package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
)

// Stalled is a container that Docker should run, and does not because of weft.
type Stalled struct {
	ID, Name string
	Why      string // the error of its last start
}

// Stalled gives the containers of the driver's networks that have a restart
// policy and whose last start failed because of the driver.
func (d *Client) Stalled(ctx context.Context, driver string) ([]Stalled, error) {
	networks, err := d.Networks(ctx)
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{} // by name and by id, as in the request that created the container
	for _, n := range networks {
		if n.Driver == DriverName(driver) {
			ours[n.Name], ours[n.ID] = true, true
		}
	}
	if len(ours) == 0 {
		return nil, nil
	}
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	list, err := d.api.ContainerList(reading, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("status", container.StateExited)),
	})
	if err != nil {
		return nil, fmt.Errorf("list Docker's containers: %w", err)
	}
	var out []Stalled
	for _, c := range list {
		if c.NetworkSettings == nil {
			continue
		}
		for name, n := range c.NetworkSettings.Networks {
			if !ours[name] && (n == nil || !ours[n.NetworkID]) {
				continue
			}
			found, err := d.container(ctx, c.ID)
			if err == nil && wanted(found) && blames(found.State.Error, driver) {
				out = append(out, Stalled{ID: c.ID, Name: strings.TrimPrefix(found.Name, "/"), Why: found.State.Error})
			}
			break // a container that is gone meanwhile needs no start
		}
	}
	return out, nil
}

// wanted says whether the container has ended although it should run.
func wanted(c container.InspectResponse) bool {
	return c.State.Status == container.StateExited && c.HostConfig != nil && !c.HostConfig.RestartPolicy.IsNone()
}

// blames says whether a container's start failed because the driver was not
// there, or with the driver's own answer.
func blames(text, driver string) bool {
	return slices.ContainsFunc([]string{
		fmt.Sprintf("plugin %q not found", driver),
		fmt.Sprintf("%%2F%s.sock/", driver), // there is a socket, and nobody listens
		"NetworkDriver.", "IpamDriver.",
	}, func(part string) bool { return strings.Contains(text, part) })
}

// startTimeout is long: Docker starts containers one by one where they meet,
// and giving up does not stop it.
const startTimeout = 2 * time.Minute

// StartContainer starts the container.
func (d *Client) StartContainer(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return d.api.ContainerStart(ctx, id, container.StartOptions{})
}
