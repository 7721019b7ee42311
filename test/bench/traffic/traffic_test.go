package traffic

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"
)

// What TestMain runs instead of the tests when told so: Run wants a process of
// its own.
func TestMain(m *testing.M) {
	measure, address := os.Getenv("TRAFFIC_MEASURE"), os.Getenv("TRAFFIC_ADDRESS")
	if measure == "" {
		os.Exit(m.Run())
	}
	r, err := Run(Job{
		From: "/proc/self/ns/net", To: "/proc/self/ns/net", Address: netip.MustParseAddr(address),
		Measure: Measure(measure), Duration: 200 * time.Millisecond,
	})
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

func TestEveryMeasureGivesAFigure(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		for _, m := range Measures() {
			t.Run(string(m)+" to "+address, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				cmd := exec.CommandContext(ctx, os.Args[0])
				cmd.Env = append(append(os.Environ(), Environ()...), "TRAFFIC_MEASURE="+string(m), "TRAFFIC_ADDRESS="+address)
				out, err := cmd.Output()
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					t.Fatalf("%v: %s", err, exit.Stderr)
				}
				if err != nil {
					t.Fatal(err)
				}
				var r Result
				if err := json.Unmarshal(out, &r); err != nil {
					t.Fatal(err)
				}
				t.Logf("%+v", r)
				if r.Value <= 0 || r.CPU <= 0 || r.Outside < 0 {
					t.Errorf("%+v", r)
				}
				if percentiles := m == SameCPU || m == CrossCPU; percentiles != (cmp.Compare(r.P99, 0) > 0) || r.P99 != 0 && r.P99 < r.Value {
					t.Errorf("the 99th percentile is %v, the median %v", r.P99, r.Value)
				}
			})
		}
	}
}

func TestParseMeasure(t *testing.T) {
	for _, m := range Measures() {
		if got, err := ParseMeasure(string(m)); got != m || err != nil {
			t.Errorf("%s: %s, %v", m, got, err)
		}
	}
	if _, err := ParseMeasure("sctp"); err == nil {
		t.Error("sctp is no measure")
	}
}
