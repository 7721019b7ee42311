package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// The columns of the tables.
const (
	weft       = "weft"
	swarm      = "swarm"
	underlay   = "host"
	bridge     = "bridge"      // Docker's default network
	userBridge = "user bridge" // one that a user made: with names, as the overlays have
)

// standing are the networks that are there while others are measured: used has
// a container on each host all the time, unused has none, and internal, which
// leads nowhere, has one on h1.
var standing = map[string]struct{ used, unused, internal string }{
	weft:       {"bench-weft", "bench-weft-unused", "bench-weft-internal"},
	swarm:      {"bench-swarm", "bench-swarm-unused", "bench-swarm-internal"},
	userBridge: {"bench-bridge", "bench-bridge-unused", "bench-bridge-internal"},
	bridge:     {"bridge", "bridge", ""},
}

// drivers are the arguments that make a network of the kind.
var drivers = map[string][]string{
	weft:       {"--driver", "weft", "--ipam-driver", "weft"},
	swarm:      {"--driver", "overlay", "--attachable"},
	userBridge: {"--driver", "bridge"},
}

// stand makes the standing networks, once.
func (b *bench) stand(ctx context.Context) error {
	if b.ready {
		return nil
	}
	b.say("make the networks that are compared")
	if err := b.joinSwarm(ctx); err != nil {
		return fmt.Errorf("make the peer, a swarm: %w", err)
	}
	two := apiOf(b.h2)
	defer two.close()
	for _, kind := range []string{userBridge, swarm, weft} {
		names := standing[kind]
		for _, name := range []string{names.used, names.unused} {
			if err := b.network(ctx, name, drivers[kind]...); err != nil {
				return err
			}
		}
		if err := b.network(ctx, names.internal, slices.Concat(drivers[kind], []string{"--internal"})...); err != nil {
			return err
		}
		for _, name := range []string{names.used, names.internal} { // a container is called as its network
			if err := b.container(ctx, b.h1, name, name); err != nil {
				return err
			}
		}
		if kind == userBridge {
			continue
		}
		if kind == weft {
			err := wait(ctx, 10*time.Second, "h2 has the network", func() (bool, error) { return two.hasNetwork(ctx, names.used) })
			if err != nil {
				return err
			}
		}
		if err := b.container(ctx, b.h2, "bench-"+kindName(kind), names.used); err != nil {
			return err
		}
	}
	b.ready = true
	return nil
}

// kindName is the kind without blanks.
func kindName(kind string) string {
	if kind == userBridge {
		return "bridge"
	}
	return kind
}

// joinSwarm makes h1 the manager and h2 a worker, unless they are.
func (b *bench) joinSwarm(ctx context.Context) error {
	for _, h := range []*lab.Host{b.h1, b.h2} {
		state, err := h.Docker(ctx, "info", "--format", "{{.Swarm.LocalNodeState}}")
		if err != nil {
			return err
		}
		if state == "active" {
			continue
		}
		args := []string{"swarm", "init", "--advertise-addr", h.Addr().String()}
		if h != b.h1 {
			token, err := b.h1.Docker(ctx, "swarm", "join-token", "--quiet", "worker")
			if err != nil {
				return err
			}
			args = []string{"swarm", "join", "--advertise-addr", h.Addr().String(), "--token", token, b.h1.Addr().String() + ":2377"}
		}
		if _, err := h.Docker(ctx, args...); err != nil {
			return err
		}
		b.later(func(ctx context.Context) error {
			_, err := h.Docker(ctx, "swarm", "leave", "--force")
			return err
		})
	}
	// A manager that was just made may not know its networks yet.
	return wait(ctx, 20*time.Second, "the swarm has two ready nodes", func() (bool, error) {
		out, err := b.h1.Docker(ctx, "node", "ls", "--format", "{{.Status}}")
		if err == nil && out != "Ready\nReady" {
			err = errors.New("docker node ls: " + out)
		}
		return err == nil, err
	})
}
