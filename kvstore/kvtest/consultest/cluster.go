package consultest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/kvstore/kvtest/ports"
)

// NewCluster is New for n servers that are one Consul. Each has a directory of its own
// below dir.
func NewCluster(dir string, n int, config ...map[string]any) ([]*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ { // as in New
		servers, err := configureCluster(binary, dir, n, config)
		if err == nil {
			err = RestartAll(servers)
		}
		if err == nil {
			return servers, nil
		}
		for _, s := range servers {
			s.Stop()
		}
		if attempt == 3 {
			return nil, fmt.Errorf("start Consul: %w", err)
		}
	}
}

func configureCluster(binary, dir string, n int, config []map[string]any) ([]*Server, error) {
	free, err := ports.Free(n * portsOf)
	if err != nil {
		return nil, err
	}
	var serf []string
	for i := range n {
		serf = append(serf, free[i*portsOf+portsOf-1].String())
	}
	cluster := map[string]any{
		"bootstrap_expect": n, "retry_join": serf, "retry_interval": "1s",
		// Autopilot takes no server out of the quorum that is away for a while.
		"autopilot": map[string]any{"min_quorum": n},
	}
	var servers []*Server
	for i := range n {
		name := fmt.Sprintf("consultest-%d", i+1)
		s := &Server{binary: binary, dir: filepath.Join(dir, name)}
		if err := os.RemoveAll(s.dir); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
		of := append([]map[string]any{cluster}, config...)
		if err := s.configure(name, free[i*portsOf:(i+1)*portsOf], of); err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// RestartAll is Restart for the servers of a cluster, none of which has a leader before
// most of them run.
func RestartAll(servers []*Server) error {
	var g errgroup.Group
	for _, s := range servers {
		g.Go(s.Restart)
	}
	return g.Wait()
}
