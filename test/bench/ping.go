package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// firstPing starts containers on h2 and counts how many first pings are lost: of
// a container on h1 that pings the new one once docker run has returned, and of
// a new one that pings the container on h1 as all it ever does.
func (b *bench) firstPing(ctx context.Context, s *section) error {
	s.Columns = []string{swarm, weft}
	if err := b.stand(ctx); err != nil {
		return err
	}
	one, two := apiOf(b.h1), apiOf(b.h2)
	defer one.close()
	defer two.close()
	to, by := s.row(fmt.Sprintf("to the new one, lost of %d", b.pings), true), s.row(fmt.Sprintf("by the new one, lost of %d", b.pings), true)
	lost := map[*row]map[string]int{to: {}, by: {}}
	kinds := slices.Clone(s.Columns)
	for round := range b.pings {
		if round%10 == 0 {
			b.say("ping: container %d of %d", round+1, b.pings)
		}
		slices.Reverse(kinds)
		for _, kind := range kinds {
			network := standing[kind].used
			netns, err := b.h1.ContainerNetns(ctx, "bench-"+kind)
			if err != nil {
				return err
			}
			old, err := one.address(ctx, "bench-"+kind, network)
			if err != nil {
				return err
			}

			name := fmt.Sprintf("bench-ping-%s-%d", kind, round)
			if _, err := b.h2.Docker(ctx, "run", "-d", "--rm", "--name", name, "--network", network, "busybox", "sleep", "1000"); err != nil {
				return err
			}
			address, err := two.address(ctx, name, network)
			if err != nil {
				return err
			}
			answered, err := ping(ctx, netns, address)
			if err != nil {
				return err
			}
			if !answered {
				lost[to][kind]++
			}
			if _, err := b.h2.Docker(ctx, "rm", "-f", name); err != nil {
				return err
			}

			if _, err := b.h2.Docker(ctx, "run", "--rm", "--network", network, "busybox", "ping", "-c", "1", "-W", "1", old); err != nil {
				if !strings.Contains(err.Error(), "exit status 1") {
					return err
				}
				lost[by][kind]++
			}
		}
	}
	for _, r := range []*row{to, by} {
		for _, kind := range kinds {
			r.add(kind, float64(lost[r][kind]))
		}
		r.judge("0", lost[r][weft] == 0)
	}
	s.Notes = append(s.Notes, "A ping counts as lost after a second. Containers have addresses from the network's pool.")
	return nil
}

// ping sends one echo request from the namespace and reports whether it was
// answered within a second.
func ping(ctx context.Context, netns, address string) (bool, error) {
	err := exec.CommandContext(ctx, "nsenter", "--net="+netns, "--", "busybox", "ping", "-c", "1", "-W", "1", address).Run()
	if err == nil {
		return true, nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return false, nil
	}
	return false, fmt.Errorf("ping %s: %w", address, err)
}
