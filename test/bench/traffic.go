package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/test/bench/traffic"
)

// way is one of the ways from h1 to h2.
type way struct {
	name     string
	from, to string // network namespaces
	address  string
}

// loud is the share of one CPU that others may use while something is measured.
// A sample with more is taken anew, once.
const loud = 0.15

// containerTraffic measures each thing on one way after the other, so that what
// is compared is done within seconds, and in the reverse order every other time.
func (b *bench) containerTraffic(ctx context.Context, s *section) error {
	s.Columns = []string{underlay, swarm, weft}
	ways, err := b.ways(ctx)
	if err != nil {
		return err
	}
	var outside []float64
	for round := range b.rounds {
		b.say("traffic: round %d of %d", round+1, b.rounds)
		slices.Reverse(ways)
		for _, m := range traffic.Measures() {
			for _, w := range ways {
				r, err := b.sample(ctx, w, m)
				if err == nil && r.Outside > loud {
					r, err = b.sample(ctx, w, m)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				outside = append(outside, r.Outside)
				s.addTraffic(w.name, m, r)
			}
		}
	}
	for _, r := range s.Rows {
		limit := 1.0
		if strings.HasPrefix(r.Name, "CPU") {
			limit = 0 // shown, and no goal
		}
		r.compare(swarm, limit)
	}
	o := spreadOf(outside)
	s.Notes = append(s.Notes,
		fmt.Sprintf("Median (min–max) of %d rounds of %s each. The ratio is weft's to swarm's sample of the same round: median (quartiles).", b.rounds, b.span),
		fmt.Sprintf("Others used %.0f %% of a CPU while this was measured (median; at most %.0f %%). Above 15 %%, trust the same-CPU rows and the CPU rows only.", o.Median*100, o.Max*100))
	return nil
}

func (s *section) addTraffic(column string, m traffic.Measure, r traffic.Result) {
	switch m {
	case traffic.TCP1:
		s.row("TCP, 1 stream, Gbit/s", false).add(column, r.Value)
	case traffic.TCP4:
		s.row("TCP, 4 streams, Gbit/s", false).add(column, r.Value)
		s.row("CPU ms per Gbit of these", true).add(column, r.CPU/1000)
	case traffic.UDP:
		s.row("UDP of 64 bytes, packets/s", false).add(column, r.Value)
		s.row("CPU µs per packet of these", true).add(column, r.CPU)
	case traffic.SameCPU:
		s.row("TCP answer on one CPU, p50 µs", true).add(column, r.Value)
		s.row("TCP answer on one CPU, p99 µs", true).add(column, r.P99)
	case traffic.CrossCPU:
		s.row("TCP answer across CPUs, p50 µs", true).add(column, r.Value)
		s.row("TCP answer across CPUs, p99 µs", true).add(column, r.P99)
	case traffic.Connect:
		s.row("TCP connections/s, one at a time", false).add(column, r.Value)
		s.row("CPU µs per connection of these", true).add(column, r.CPU)
	}
}

func (b *bench) ways(ctx context.Context) ([]way, error) {
	if err := b.stand(ctx); err != nil {
		return nil, err
	}
	two := apiOf(b.h2)
	defer two.close()
	ways := []way{{name: underlay, from: b.h1.Netns(), to: b.h2.Netns(), address: b.h2.Addr().String()}}
	for _, kind := range []string{swarm, weft} {
		w := way{name: kind}
		var err error
		if w.from, err = b.h1.ContainerNetns(ctx, "bench-"+kind); err != nil {
			return nil, err
		}
		if w.to, err = b.h2.ContainerNetns(ctx, "bench-"+kind); err != nil {
			return nil, err
		}
		if w.address, err = two.address(ctx, "bench-"+kind, standing[kind].used); err != nil {
			return nil, err
		}
		ways = append(ways, w)
	}
	return ways, nil
}

// sample measures in a process of its own.
func (b *bench) sample(ctx context.Context, w way, m traffic.Measure) (traffic.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*b.span+20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", trafficCommand, w.from, w.to, w.address, string(m), b.span.String())
	cmd.Env = append(os.Environ(), traffic.Environ()...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return traffic.Result{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return traffic.Result{}, fmt.Errorf("measure traffic: %w", err)
	}
	var r traffic.Result
	if err := json.Unmarshal(out, &r); err != nil {
		return traffic.Result{}, fmt.Errorf("measure traffic: %w", err)
	}
	return r, nil
}
