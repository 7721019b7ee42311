package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// dockerRun measures docker run --rm from the client's start to its end, on
// networks that a container on this host uses already and on networks that none
// uses, whose kernel objects an overlay has to make and to remove.
func (b *bench) dockerRun(ctx context.Context, s *section) error {
	s.Columns, s.Peer = []string{bridge, userBridge, swarm, weft}, bridge
	if err := b.stand(ctx); err != nil {
		return err
	}
	type what struct{ row, kind, network string }
	var all []what
	for _, kind := range s.Columns {
		all = append(all, what{"network in use on the host, ms", kind, standing[kind].used})
	}
	for _, kind := range s.Columns {
		all = append(all, what{"first container of the network on the host, ms", kind, standing[kind].unused})
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
				s.row(w.row, true).add(w.kind, milliseconds(took))
			}
		}
	}
	slices.SortFunc(s.Rows, func(a, b *row) int { return strings.Compare(b.Name, a.Name) })
	for _, r := range s.Rows {
		r.compare(bridge, 1.1)
		swarmed, user := spreadOf(ratios(r.Samples[weft], r.Samples[swarm])), spreadOf(ratios(r.Samples[weft], r.Samples[userBridge]))
		r.Note = fmt.Sprintf("weft/swarm %.2f (%.2f–%.2f), weft/user bridge %.2f (%.2f–%.2f).", swarmed.Median, swarmed.Low, swarmed.High, user.Median, user.Low, user.High)
	}
	s.Notes = append(s.Notes, fmt.Sprintf("Median (min–max) of %d rounds. The ratio is that of the two samples of a round: median (quartiles).", b.runs))
	return nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }
