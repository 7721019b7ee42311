package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// allowance is how much longer than the peer weft may take.
var allowance = map[string]float64{bridge: 1.1, userBridge: 1.1, swarm: 1}

// dockerRun measures docker run --rm from the client's start to its end, on
// networks that a container on this host uses already and on networks that none
// uses, whose kernel objects an overlay has to make and to remove.
func (b *bench) dockerRun(ctx context.Context, s *section) error {
	s.Columns = []string{bridge, userBridge, swarm, weft}
	if err := b.stand(ctx); err != nil {
		return err
	}
	type what struct {
		row           *row
		kind, network string
	}
	used, unused := s.row("on a network in use here, ms", true), s.row("on one not in use here, ms", true)
	internal := s.row("on an internal one in use here, ms", true)
	var all []what
	for _, kind := range s.Columns {
		all = append(all, what{used, kind, standing[kind].used}, what{unused, kind, standing[kind].unused})
		if name := standing[kind].internal; name != "" {
			all = append(all, what{internal, kind, name})
		}
	}
	for round := range b.runs + 1 {
		if round%5 == 1 {
			b.say("run: round %d of %d", round, b.runs)
		}
		slices.Reverse(all)
		for _, w := range all {
			begin := time.Now()
			if _, err := b.h1.Docker(ctx, "run", "--rm", "--network", w.network, "busybox", "true"); err != nil {
				return err
			}
			if took := time.Since(begin); round > 0 { // the first is for caches
				w.row.add(w.kind, milliseconds(took))
			}
		}
	}
	for _, r := range []*row{used, unused, internal} {
		for _, peer := range []string{bridge, userBridge, swarm} {
			if r.Samples[peer] == nil {
				continue
			}
			against := s.row(r.Name+", against "+peer, true)
			against.Samples = r.Samples
			against.compare(peer, allowance[peer])
			against.Samples = nil // they are in r
		}
	}
	s.Notes = append(s.Notes,
		fmt.Sprintf("Median (min–max) of %d rounds. The ratio is weft's to the other's sample of the same round: median (quartiles).", b.runs),
		"For every network but its default bridge Docker sets up a name server in the container, and for every overlay that is not internal a second interface, on docker_gwbridge. What weft itself takes shows on the internal ones.")
	return nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }
