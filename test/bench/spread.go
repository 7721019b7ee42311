package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// networkSpread measures docker network create on h1, and the time from its end
// until Docker's API on h2, where docker network ls asks, has the network.
func (b *bench) networkSpread(ctx context.Context, s *section) error {
	s.Columns = []string{userBridge, swarm, weft}
	if err := b.joinSwarm(ctx); err != nil {
		return fmt.Errorf("make the peer, a swarm: %w", err)
	}
	two := apiOf(b.h2)
	defer two.close()
	kinds := slices.Clone(s.Columns)
	for round := range b.runs {
		if round%5 == 0 {
			b.say("spread: round %d of %d", round+1, b.runs)
		}
		slices.Reverse(kinds)
		for _, kind := range kinds {
			if err := b.spreadOnce(ctx, s, two, kind, fmt.Sprintf("bench-spread-%d-%s", round, kindName(kind))); err != nil {
				return err
			}
		}
	}
	r := s.row("from then to ls on h2, ms", true)
	r.judge("p50 < 200", spreadOf(r.Samples[weft]).Median < 200)
	s.Notes = append(s.Notes, fmt.Sprintf("Median (min–max) of %d networks. A swarm tells a worker of a network when a task or container there needs it, a bridge stays on its host: neither is ever listed.", b.runs))
	return nil
}

func (b *bench) spreadOnce(ctx context.Context, s *section, two *api, kind, name string) error {
	begin := time.Now()
	args := append([]string{"network", "create"}, drivers[kind]...)
	if _, err := b.h1.Docker(ctx, append(args, name)...); err != nil {
		return err
	}
	created := time.Now()
	s.row("docker network create, ms", true).add(kind, milliseconds(created.Sub(begin)))
	var spread error
	if kind == weft {
		spread = wait(ctx, 10*time.Second, "h2 lists "+name, func() (bool, error) { return two.hasNetwork(ctx, name) })
		s.row("from then to ls on h2, ms", true).add(kind, milliseconds(time.Since(created)))
	}
	if _, err := b.h1.Docker(ctx, "network", "rm", name); err != nil {
		return err
	}
	if spread != nil || kind != weft {
		return spread
	}
	return wait(ctx, 10*time.Second, "h2 lists "+name+" no more", func() (bool, error) {
		has, err := two.hasNetwork(ctx, name)
		return err == nil && !has, err
	})
}
