package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// bench is a run on a lab.
type bench struct {
	options
	lab    *lab.Lab
	h1, h2 *lab.Host
	undo   []func(context.Context) error
	ready  bool // the standing networks are there
}

// part is a benchmark that can be asked for.
type part struct {
	name, title string
	measure     func(*bench, context.Context, *section) error
}

// parts returns all of them, in the order in which they are done. The idle
// daemon comes first: nothing else has been there yet.
func parts() []part {
	return []part{
		{"idle", "an idle weft", (*bench).idleDaemon},
		{"spread", "from docker network create on h1 to docker network ls on h2", (*bench).networkSpread},
		{"run", "wall time of docker run --rm, of busybox true", (*bench).dockerRun},
		{"ping", "the first ping between a container and one that was just started on the other host", (*bench).firstPing},
		{"traffic", "between containers on two hosts", (*bench).containerTraffic},
		{"storm", "random allocations of addresses on simulated hosts that crash", (*bench).addressStorm},
	}
}

func names() []string {
	var out []string
	for _, p := range parts() {
		out = append(out, p.name)
	}
	return out
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// later has something undone at the end, in reverse order.
func (b *bench) later(undo func(context.Context) error) { b.undo = append(b.undo, undo) }

// tidy leaves the lab as it was.
func (b *bench) tidy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var errs []error
	for _, undo := range slices.Backward(b.undo) {
		errs = append(errs, undo(ctx))
	}
	b.undo = nil
	return errors.Join(errs...)
}

// network makes a network on h1 that is removed in the end.
func (b *bench) network(ctx context.Context, name string, args ...string) error {
	if _, err := b.h1.Docker(ctx, append(append([]string{"network", "create"}, args...), name)...); err != nil {
		return err
	}
	b.later(func(ctx context.Context) error {
		_, err := b.h1.Docker(ctx, "network", "rm", name)
		return err
	})
	return nil
}

// container starts a container that idles and is removed in the end.
func (b *bench) container(ctx context.Context, h *lab.Host, name, network string) error {
	if _, err := h.Docker(ctx, "run", "-d", "--name", name, "--network", network, "busybox", "sleep", "100000"); err != nil {
		return err
	}
	b.later(func(ctx context.Context) error {
		_, err := h.Docker(ctx, "rm", "-f", name)
		return err
	})
	return nil
}

// api asks Docker's API on a host.
type api struct {
	client *http.Client
	host   *lab.Host
}

func apiOf(h *lab.Host) *api {
	client := h.DockerClient()
	client.Timeout = 10 * time.Second
	return &api{host: h, client: client}
}

func (a *api) close() { a.client.CloseIdleConnections() }

func (a *api) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask Docker on %s for %s: %w", a.host.Name(), path, err)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask Docker on %s for %s: %w", a.host.Name(), path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Docker on %s for %s: %s", a.host.Name(), path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("ask Docker on %s for %s: %w", a.host.Name(), path, err)
	}
	return nil
}

// address is the IPv4 address of a container in the network.
func (a *api) address(ctx context.Context, container, network string) (string, error) {
	var c struct {
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	if err := a.get(ctx, "/containers/"+container+"/json", &c); err != nil {
		return "", err
	}
	address := c.NetworkSettings.Networks[network].IPAddress
	if address == "" {
		return "", fmt.Errorf("the container %s on %s has no address in %s", container, a.host.Name(), network)
	}
	return address, nil
}

// hasNetwork reports whether Docker lists a network of that name.
func (a *api) hasNetwork(ctx context.Context, name string) (bool, error) {
	var list []struct{ Name string }
	if err := a.get(ctx, "/networks", &list); err != nil {
		return false, err
	}
	for _, n := range list {
		if n.Name == name {
			return true, nil
		}
	}
	return false, nil
}

// wait asks until the answer is yes.
func wait(ctx context.Context, limit time.Duration, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		yes, err := ask()
		if yes {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait until %s: %w", what, ctx.Err()), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
