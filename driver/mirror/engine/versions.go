package engine

import (
	"context"
	"fmt"
	"net"
	"strings"

	dockerapi "github.com/docker/docker/api"
	"github.com/docker/docker/client"
)

// Versions are the versions of Docker's API that a Docker speaks.
type Versions struct {
	Newest string
	Oldest string // "": Docker does not say
}

// AskVersions asks the Docker at host, unix:///PATH, for its versions. It makes
// connections of its own. The first one only finds out whether somebody answers,
// since Docker's client hides why nobody does.
func AskVersions(ctx context.Context, host string) (Versions, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
	if err != nil {
		return Versions{}, err
	}
	_ = conn.Close()
	api, err := client.NewClientWithOpts(client.WithHost(host))
	if err != nil {
		return Versions{}, fmt.Errorf("make a client for Docker's API at %s: %w", host, err)
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	ping, err := api.Ping(ctx)
	if err != nil || ping.APIVersion == "" {
		return Versions{}, err
	}
	// No version is negotiated: a Docker that is too old or too new for weft answers
	// in its own version only, and is to be named.
	if err := client.WithVersion(ping.APIVersion)(api); err != nil {
		return Versions{}, fmt.Errorf("speak version %s of Docker's API at %s: %w", ping.APIVersion, host, err)
	}
	v, err := api.ServerVersion(ctx)
	if err != nil {
		return Versions{}, fmt.Errorf("ask Docker's API at %s for its versions: %w", host, err)
	}
	return Versions{Newest: ping.APIVersion, Oldest: v.MinAPIVersion}, nil
}

// The oldest and the newest version of Docker's API that weft speaks. It uses the
// newest that Docker speaks too. 1.24 is that of Docker 1.12.
const (
	MinAPI = dockerapi.MinSupportedAPIVersion
	MaxAPI = dockerapi.DefaultVersion
)

// ipv6AloneSince is the first version with networks without IPv4: Docker 28 has it.
const ipv6AloneSince = "1.48"
