package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// report is all that a run has found.
type report struct {
	Settings settings
	Figures  []figure
	Failures []string // what did not hold
}

// figure is one number of the table.
type figure struct {
	Phase string
	What  string
	Value float64 // NaN cannot be in JSON: a figure without samples is left out
	Unit  unit
}

// unit says how a figure is printed. Times are in seconds, sizes in bytes.
type unit string

const (
	count   unit = ""
	seconds unit = "s"
	size    unit = "B"
	perSec  unit = "/s"
	sizeSec unit = "B/s"
	percent unit = "% of a core"
)

func (r *report) add(phase, what string, value float64, u unit) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	r.Figures = append(r.Figures, figure{phase, what, value, u})
}

// times adds the median and the 99th percentile.
func (r *report) times(phase, what string, list []time.Duration) {
	if len(list) == 0 {
		return
	}
	r.add(phase, what+", p50", quantile(list, 0.5).Seconds(), seconds)
	r.add(phase, what+", p99", quantile(list, 0.99).Seconds(), seconds)
}

// quantile is the value below which the part lies, by nearest rank.
func quantile(list []time.Duration, part float64) time.Duration {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[max(0, int(math.Ceil(part*float64(len(list))))-1)]
}

// write prints the table.
func (r *report) write(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	s := r.Settings
	fmt.Fprintf(w, "%d hosts, %d networks, %d endpoints, %v, %g starts and stops a second, %g %% of datagrams lost, seed %d\n",
		s.Hosts, s.Networks, s.Endpoints, s.Lasts, s.Rate, s.Loss, s.Seed)
	phase := ""
	for _, f := range r.Figures {
		if f.Phase != phase {
			phase = f.Phase
			fmt.Fprintf(w, "\n%s\n", phase)
		}
		fmt.Fprintf(w, "  %s\t%s\n", f.What, f.text())
	}
	_ = w.Flush()
	if busy := r.busiest(); busy > 50 {
		fmt.Fprintf(out, "\nOther programs used up to %.0f %% of a core: times, and what is beyond idle, say little.\n", busy)
	}
	for _, f := range r.Failures {
		fmt.Fprintln(out, "FAILED:", f)
	}
}

// busiest is the most that other programs used in a phase, in % of a core.
func (r *report) busiest() (most float64) {
	for _, f := range r.Figures {
		if f.What == byOthers {
			most = max(most, f.Value)
		}
	}
	return most
}

func (f figure) text() string {
	switch f.Unit {
	case seconds:
		return durationText(f.Value)
	case size, sizeSec:
		return sizeText(f.Value) + string(f.Unit)
	case percent:
		return fmt.Sprintf("%.3g %s", f.Value, f.Unit)
	default:
		return fmt.Sprintf("%.4g%s", f.Value, f.Unit)
	}
}

func durationText(s float64) string {
	switch {
	case math.Abs(s) >= 1:
		return fmt.Sprintf("%.3g s", s)
	case math.Abs(s) >= 1e-3:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g µs", s*1e6)
}

func sizeText(n float64) string {
	for _, of := range []struct {
		n float64
		s string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(n) >= of.n {
			return fmt.Sprintf("%.3g %s", n/of.n, of.s)
		}
	}
	return fmt.Sprintf("%.3g ", n)
}
