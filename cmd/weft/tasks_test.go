package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/mirror"
)

// What runs in a daemon, and what each part of it waits for.
func TestTasks(t *testing.T) {
	always := []string{
		"registry",
		"direct messages: registry",
		"addresses: registry",
		"changes passed on: registry, addresses",
		"passes: registry",
		"underlay watch: passes",
		"border watch: passes",
		"arrivals: passes",
		"ways without a tunnel: registry, passes",
		"names: registry, passes",
		"probes: registry, passes",
		"driver calls: addresses, passes",
		"commands",
	}
	for _, c := range []struct {
		daemon *daemon
		more   []string
	}{
		{&daemon{}, nil},
		{&daemon{scrapes: &net.TCPListener{}}, []string{"metrics"}},
		{&daemon{scrapes: &net.TCPListener{}, mirror: &mirror.Mirror{}}, []string{"metrics", "mirror: registry, driver calls"}},
	} {
		var got []string
		seen := map[string]bool{}
		for _, task := range c.daemon.tasks(nil) {
			line := task.name
			for i, need := range task.needs {
				line += []string{": ", ", "}[min(i, 1)] + need
				if !seen[need] {
					t.Errorf("%s waits for %s, which is not before it", task.name, need)
				}
			}
			if seen[task.name] {
				t.Errorf("two tasks are called %s", task.name)
			}
			seen[task.name] = true
			got = append(got, line)
		}
		if diff := cmp.Diff(slices.Concat(always, c.more), got); diff != "" {
			t.Errorf("tasks (-want +got):\n%s", diff)
		}
	}
}

// The first task that fails ends all of them, and its error is that of the daemon.
func TestAFailingTaskEndsTheOthers(t *testing.T) {
	failure := errors.New("no socket")
	stay := func(ctx context.Context) error { <-ctx.Done(); return nil }
	var mu sync.Mutex
	var ended []string
	wait := startAll(t.Context(), []task{
		{name: "a", run: stay},
		{name: "b", run: func(context.Context) error { return failure }},
		{name: "c", run: stay},
	}, func(name string) {
		mu.Lock()
		defer mu.Unlock()
		ended = append(ended, name)
	})
	if err := wait(); !errors.Is(err, failure) {
		t.Errorf("the tasks ended with %v", err)
	}
	if slices.Sort(ended); fmt.Sprint(ended) != "[a b c]" {
		t.Errorf("%v have ended", ended)
	}
}
