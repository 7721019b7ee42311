package main

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestQuantiles(t *testing.T) {
	for _, tt := range []struct {
		samples []float64
		q, want float64
	}{
		{[]float64{5}, 0.5, 5},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{3, 1, 2}, 0, 1},
		{[]float64{3, 1, 2}, 1, 3},
		{[]float64{1, 2, 3, 4, 5}, 0.75, 4},
	} {
		if got := quantile(tt.samples, tt.q); got != tt.want {
			t.Errorf("quantile %v of %v is %v, want %v", tt.q, tt.samples, got, tt.want)
		}
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
}

// The verdict is on the rounds' ratios, in the direction that is better.
func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name        string
		lower       bool
		limit       float64
		weft, swarm []float64
		want        string
	}{
		{"more is better", false, 1, []float64{11, 10, 12}, []float64{10, 10, 10}, met},
		{"less is better", true, 1, []float64{11, 11, 12}, []float64{10, 10, 10}, missed},
		{"equal", true, 1, []float64{10}, []float64{10}, met},
		{"some rounds", false, 1, []float64{9, 9, 9, 11, 11}, []float64{10, 10, 10, 10, 10}, unsure},
		{"a tenth more is allowed", true, 1.1, []float64{109}, []float64{100}, met},
		{"more than a tenth", true, 1.1, []float64{112}, []float64{100}, missed},
		{"no goal", true, 0, []float64{112}, []float64{100}, ""},
		{"no samples", true, 1, nil, []float64{100}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := row{Lower: tt.lower, Samples: map[string][]float64{weft: tt.weft, swarm: tt.swarm}}
			if r.compare(swarm, tt.limit); r.Verdict != tt.want {
				t.Errorf("got %q, want %q (%+v)", r.Verdict, tt.want, r.Ratio)
			}
		})
	}
}

func TestFigures(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 7: "7", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 12345.6: "12,346", 1000: "1,000", 1234567: "1,234,567"} {
		if got := figure(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
}

// What a reader must not miss is in the text.
func TestTheTableSaysWhatIsMissedAndMissing(t *testing.T) {
	s := &section{Name: "run", Title: "of things", Columns: []string{swarm, weft}, Error: "h2 is gone"}
	r := s.row("time, ms", true)
	r.add(weft, 20)
	r.add(swarm, 10)
	r.compare(swarm, 1)
	ok := s.row("lost", true)
	ok.add(weft, 0)
	ok.judge("0", true)
	var b strings.Builder
	(&report{Sections: []*section{s}}).write(&b)
	for _, want := range []string{"| 2.00 (2.00–2.00) | ≤ 1 × swarm | MISSED", "| met ", "FAILED, figures are missing: h2 is gone", "Goals: 1 met, 1 missed."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("want %q in\n%s", want, b.String())
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"-only", "traffic, run"})
	if err != nil || !slices.Equal(o.only, []string{"traffic", "run"}) {
		t.Errorf("%v, %v", o.only, err)
	}
	if o, err = parse(nil); err != nil || slices.Contains(o.only, "storm") || len(o.only) != len(names())-1 {
		t.Errorf("%v, %v", o.only, err)
	}
	for _, bad := range [][]string{{"-only", "speed"}, {"-rounds", "0"}, {"traffic"}, {"-span", "-1s"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

func TestStormResult(t *testing.T) {
	// As TestStorm in ipam logs it.
	found := stormResult.FindSubmatch([]byte("    storm_test.go:151: 20012 addresses handed out on 50 hosts in 3.2s (6253/s): duplicates=0, 10 times none free, 20 times no store, 5 times taken, 31 crashes, 0.123 Consul requests each\n--- PASS"))
	if found == nil || string(found[1]) != "20012" || string(found[2]) != "0" || string(found[3]) != "31" {
		t.Errorf("%q", found)
	}
}
