package mirror

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/docker/docker/client"
)

// Engine is the Docker that answers at an API.
type Engine struct {
	API    string // newest version of the API that it speaks
	MinAPI string // oldest; "": it does not say
}

// LookAtDocker asks who answers at host, unix:///PATH, over connections of its
// own. Docker's client hides why it finds nobody, so that is asked first.
func LookAtDocker(ctx context.Context, host string) (Engine, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
	if err != nil {
		return Engine{}, err
	}
	_ = conn.Close()
	api, err := client.NewClientWithOpts(client.WithHost(host))
	if err != nil {
		return Engine{}, fmt.Errorf("make a client for Docker's API at %s: %w", host, err)
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	ping, err := api.Ping(ctx)
	if err != nil || ping.APIVersion == "" {
		return Engine{}, err
	}
	// Not negotiated: one that is too old or too new is to be named, and refuses
	// every version but its own.
	if err := client.WithVersion(ping.APIVersion)(api); err != nil {
		return Engine{}, fmt.Errorf("speak version %s of Docker's API at %s: %w", ping.APIVersion, host, err)
	}
	v, err := api.ServerVersion(ctx)
	if err != nil {
		return Engine{}, fmt.Errorf("ask Docker's API at %s for its versions: %w", host, err)
	}
	return Engine{API: ping.APIVersion, MinAPI: v.MinAPIVersion}, nil
}
