package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/client"
)

// Bounds of single calls. Creating a network waits for other calls of the same
// name, and dockerd itself gives a driver call up to 2 minutes.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
)

// What those who use a Client have in common.
const (
	// LookEvery is how often Docker's state is compared when no event asks for it.
	LookEvery = 60 * time.Second
	// AtOnce is how many calls that change something are made at a time. Docker
	// serialises many of them; one that waits shall not keep the others waiting.
	AtOnce = 4
)

// Client makes calls to one Docker.
type Client struct {
	api *client.Client
}

// Dial makes a client. Each session needs its own, since the version of the API
// is negotiated once, and Docker may have been replaced by another version.
func Dial(ctx context.Context, host string) (*Client, error) {
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
	return &Client{api: api}, nil
}

// Close ends the client's connections.
func (d *Client) Close() { d.api.Close() }

// Version is the version of the API that was negotiated.
func (d *Client) Version() string { return d.api.ClientVersion() }
