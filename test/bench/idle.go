package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/machine"
)

// manyNetworks is what an idle weft has beside one.
const manyNetworks = 50

// settle is how long after the last network was made weft is idle.
const settle = 15 * time.Second

// idleDaemon watches the weft of h1 while it has one network, then fifty, and
// no containers.
func (b *bench) idleDaemon(ctx context.Context, s *section) (err error) {
	defer func() { err = errors.Join(err, b.tidy(context.WithoutCancel(ctx))) }()
	s.Columns = []string{"1 network", fmt.Sprintf("%d networks", manyNetworks)}
	for i, networks := range []int{1, manyNetworks} {
		from := 0
		if i > 0 {
			from = 1
		}
		for n := from; n < networks; n++ {
			if err := b.network(ctx, fmt.Sprintf("bench-idle-%d", n), drivers[weft]...); err != nil {
				return err
			}
		}
		b.say("idle: %d networks, %s", networks, b.idle)
		if err := pause(ctx, settle); err != nil {
			return err
		}
		if err := b.watchIdle(ctx, s, s.Columns[i]); err != nil {
			return err
		}
	}
	s.Notes = append(s.Notes, fmt.Sprintf("h1 of %d hosts, no containers, watched for %s. Requests are counted on the wire; one that waits for a change is counted when it begins.", len(b.lab.Hosts()), b.idle))
	return nil
}

func (b *bench) watchIdle(ctx context.Context, s *section, column string) error {
	pid := b.h1.PID(lab.Weft)
	count, err := b.countRequests(ctx)
	if err != nil {
		return err
	}
	before, err := cpuTime(pid)
	if err != nil {
		return err
	}
	if err := pause(ctx, b.idle); err != nil {
		return err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return err
	}
	requests, err := count(ctx)
	if err != nil {
		return err
	}
	status := fmt.Sprintf("/proc/%d/status", pid)
	b.goroutines(ctx, s, column)
	for _, figure := range []struct {
		name, key string
		unit      float64
	}{{"threads", "Threads", 1}, {"resident memory, MiB", "VmRSS", 1024}} {
		number, _, _ := strings.Cut(machine.Field(status, figure.key), " ")
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return fmt.Errorf("read %s: %w", status, err)
		}
		s.row(figure.name, true).add(column, value/figure.unit)
	}
	minutes := b.idle.Minutes()
	s.row("CPU ms per minute", true).add(column, milliseconds(after-before)/minutes)
	for _, verb := range slices.Sorted(maps.Keys(requests)) {
		s.row("Consul requests per minute, "+verb, true).add(column, float64(requests[verb])/minutes)
	}
	return nil
}

// goroutines adds the figure if weft tells it.
func (b *bench) goroutines(ctx context.Context, s *section, column string) {
	r := s.row("goroutines", true)
	// It exits with 3 if something is wrong, and tells all the same.
	out, _ := b.h1.Run(ctx, fmt.Sprintf("/proc/%d/exe", b.h1.PID(lab.Weft)), "status", "--json")
	var status struct {
		Goroutines float64 `json:"goroutines"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || status.Goroutines == 0 {
		r.Note = "this weft does not tell."
		return
	}
	r.add(column, status.Goroutines)
}

// Which requests are told apart, by how they begin.
var verbs = map[string]string{"GET": "0x474554", "PUT": "0x505554", "DELETE": "0x44454c"}

// counterPrefix keeps the counters' names from being words of nft's.
const counterPrefix = "http_"

// countRequests counts the HTTP requests that leave h1 for Consul, until the
// function it returns is called. A request is written in one piece, at the
// beginning of a segment.
func (b *bench) countRequests(ctx context.Context) (func(context.Context) (map[string]int, error), error) {
	var rules strings.Builder
	rules.WriteString("table inet bench {\n")
	for verb := range verbs {
		fmt.Fprintf(&rules, "counter %s { }\n", counterPrefix+verb)
	}
	rules.WriteString("chain out { type filter hook output priority 0; policy accept;\n")
	for verb, begin := range verbs {
		fmt.Fprintf(&rules, "tcp dport 8500 @ih,0,24 %s counter name %s\n", begin, counterPrefix+verb)
	}
	rules.WriteString("}\n}\n")
	if _, err := b.h1.Run(ctx, "nft", rules.String()); err != nil {
		return nil, fmt.Errorf("count requests: %w", err)
	}
	return func(ctx context.Context) (map[string]int, error) {
		defer b.h1.Run(context.WithoutCancel(ctx), "nft", "delete", "table", "inet", "bench") //nolint:errcheck // the lab goes too
		out, err := b.h1.Run(ctx, "nft", "-j", "list", "counters", "table", "inet", "bench")
		if err != nil {
			return nil, fmt.Errorf("count requests: %w", err)
		}
		var list struct {
			Nftables []struct {
				Counter *struct {
					Name    string `json:"name"`
					Packets int    `json:"packets"`
				} `json:"counter"`
			} `json:"nftables"`
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return nil, fmt.Errorf("count requests: %w", err)
		}
		found := map[string]int{}
		for _, e := range list.Nftables {
			if e.Counter != nil {
				found[strings.TrimPrefix(e.Counter.Name, counterPrefix)] = e.Counter.Packets
			}
		}
		return found, nil
	}, nil
}

// cpuTime is what a process has used. It is told in hundredths of a second on
// every machine (USER_HZ).
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("ask for a process's CPU time: %w", err)
	}
	// The name in parentheses may hold anything; what follows is from field 3 on.
	rest := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int64
	if len(rest) < 13 {
		return 0, fmt.Errorf("ask for a process's CPU time: %q", text)
	}
	if _, err := fmt.Sscan(rest[11]+" "+rest[12], &user, &system); err != nil {
		return 0, fmt.Errorf("ask for a process's CPU time: %w", err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
