package whole

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// DockerNetwork is a network of weft's as a host's Docker has it.
type DockerNetwork struct {
	ID, Name string
	IPAM     struct {
		Config []struct{ Subnet, Gateway string }
	}
	// Containers are those that run on the host, by id. Their addresses have a
	// prefix length; an empty one is none.
	Containers map[string]struct{ EndpointID, Name, IPv4Address, IPv6Address string }
}

// DockerNetworks asks the host's Docker for its networks of weft, by name.
func (c Cluster) DockerNetworks(ctx context.Context, host string) (map[string]DockerNetwork, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := c.Lab.Host(host).DockerClient()
	defer client.CloseIdleConnections()
	var list []DockerNetwork
	if err := get(ctx, client, "http://docker/networks?filters="+url.QueryEscape(`{"driver":["weft"]}`), &list); err != nil {
		return nil, fmt.Errorf("ask Docker on %s for networks: %w", host, err)
	}
	out := map[string]DockerNetwork{}
	for _, n := range list {
		// The list does not say which containers there are.
		if err := get(ctx, client, "http://docker/networks/"+n.ID, &n); err != nil {
			return nil, fmt.Errorf("ask Docker on %s for network %s: %w", host, n.Name, err)
		}
		if _, twice := out[n.Name]; twice {
			return nil, fmt.Errorf("Docker on %s has two networks %s", host, n.Name)
		}
		out[n.Name] = n
	}
	return out, nil
}

func get(ctx context.Context, client *http.Client, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer to %s is %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}
