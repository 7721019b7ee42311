package main

import (
	"slices"
	"testing"
	"time"
)

// A small cluster goes through all that the simulator knows: containers start and stop,
// a host joins, the store is away and comes back, a host dies, and datagrams are lost.
// After each of these all hosts know everything, and no address is anybody's twice. How
// fast they are is not asked.
func TestScale(t *testing.T) {
	s := &simulation{
		settings: settings{
			Hosts: 6, Networks: 4, Endpoints: 60, Lasts: 4 * time.Second, Rate: 8, Loss: 5, Seed: 1,
			Patience: 4 * time.Minute, // the machine may be busy
		},
		dir: t.TempDir(), states: t.TempDir(), log: quiet(), say: t.Logf,
	}
	report, err := s.run(t.Context())
	if err != nil {
		t.Errorf("%v: %v", err, report.Failures)
	}
	for _, what := range []string{
		"until all hosts may claim addresses",
		"until the new host has claimed an address and runs a container",
		"until the new host knows everything",
		"from the store's return until it has everything",
		"until the names of the dead host are withdrawn on all hosts",
	} {
		if !slices.ContainsFunc(report.Figures, func(f figure) bool { return f.What == what }) {
			t.Errorf("the report does not say how long it took %s", what)
		}
	}
	if !slices.ContainsFunc(report.Figures, func(f figure) bool { return f.Phase == phaseFill && f.What == "starts" && f.Value > 0 }) {
		t.Error("no container was started")
	}
}
