package whole

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/test/lab"
)

// patience is how long one question may take.
const patience = 20 * time.Second

// Cluster is the cluster of a lab.
type Cluster struct {
	Lab   *lab.Lab
	Spare string // a host of the lab that is none of the cluster's; empty: there is none
}

// Hosts are the cluster's, h1 first.
func (c Cluster) Hosts() []*lab.Host {
	return slices.DeleteFunc(slices.Clone(c.Lab.Hosts()), func(h *lab.Host) bool { return h.Name() == c.Spare })
}

// Control asks the weft of the host.
func (c Cluster) Control(host string) control.Client {
	return control.Client{Socket: c.Lab.Host(host).Path("/run/weft/weft.sock")}
}

// Networks lists the cluster's networks as the host's weft sees them, without
// what differs between hosts or from one moment to the next.
func (c Cluster) Networks(ctx context.Context, host string) ([]control.Network, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := c.Control(host).Networks(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", host, err)
	}
	for i := range list {
		list[i].MTU, list[i].Hosts, list[i].Endpoints = 0, 0, 0
	}
	return list, nil
}

// Usage is what a weft holds.
type Usage struct{ Goroutines, Files int }

// Usage asks what the host's weft holds.
func (c Cluster) Usage(ctx context.Context, host string) (Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := c.Control(host).Status(ctx)
	if err != nil {
		return Usage{}, fmt.Errorf("%s: %w", host, err)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Lab.Host(host).PID(lab.Weft)))
	return Usage{Goroutines: s.Goroutines, Files: len(files)}, err
}
