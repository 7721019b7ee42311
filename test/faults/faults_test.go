package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/pulse"
)

func TestWorstOf(t *testing.T) {
	w := worstOf([]*sample{
		{Result: pulse.Result{Sent: 100, Lost: 2, Stall: time.Second / 2, Asked: 10}, Starts: 3, Whole: 2, Figures: map[string]float64{"names": 4}},
		{Result: pulse.Result{Sent: 300, Stall: time.Second / 4, Asked: 30, Failed: 1}, Starts: 2, Whole: 5, Figures: map[string]float64{"names": 6}},
	})
	f := &fault{lossless: true, startful: true}
	got := fmt.Sprint(w.Lost, " of ", w.Sent, ", ", w.Failed, " of ", w.Asked, ", ", w.stream(), ", ", w.starts(), ", ", w.Whole, ", ", w.kept(), ", ", w.verdicts(f))
	want := "2 of 100, 1 of 30, 500 ms, 0 of 5, the slowest took 0.0 s, 5, the connection, `docker run`, [MISSED (0 lost) met (0 failed starts)]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	g := figure{"names", "until names are gone", 5}
	if v := g.verdict(w.figures["names"]); v != "MISSED (at most 5 s)" {
		t.Error(v)
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-only", "weft-kill, link-cut", "-runs", "2"})
	if err != nil || len(o.only) != 2 || o.all || o.runs != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	if got, want := o.command(), "make faults FAULTS=weft-kill,link-cut RUNS=2 FAULTFLAGS='-parallel 5 -beside 1 -outage 10m0s'"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, bad := range [][]string{{"-only", "meteor"}, {"-runs", "0"}, {"weft-kill"}, {"-outage", "-1s"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

// One fault, played for real: nothing is lost, nothing is left.
func TestWeftKilled(t *testing.T) {
	o, err := parse([]string{"-only", "weft-kill", "-runs", "1"})
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("WEFT_BIN") == "" {
		o.weft = filepath.Join("..", "..", "bin", "weft")
		o.next = o.weft
	}
	r := &report{Command: o.command(), Outage: o.outage}
	if err := playAll(t.Context(), o, r); err != nil {
		t.Fatal("this test needs root and a lab: ", err)
	}
	text, err := r.document(o.only)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(string(text[:strings.Index(string(text), "## More")]))
	if err := r.failed(); err != nil {
		t.Fatal(err)
	}
	if s := r.Samples[0]; s.Lost > 0 || s.Broken != "" || s.Sent < 300 || s.Asked == 0 {
		t.Errorf("%+v", s)
	}
	if len(r.Leaks) != 1 || !r.Leaks[0].none() {
		t.Errorf("left behind: %+v", r.Leaks)
	}
}
