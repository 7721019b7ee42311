package main

import (
	"strings"
	"time"

	"github.com/weft-net/weft/test/pulse"
)

// sample is what one playing of a fault gave.
type sample struct {
	Fault string `json:"fault"`
	Run   int    `json:"run"`
	pulse.Result
	Starts  int                `json:"starts"`            // containers started while the fault lasted
	Refused []string           `json:"refused,omitempty"` // why those did not that did not
	Slowest float64            `json:"slowest,omitempty"` // start of one, seconds
	Whole   float64            `json:"whole"`             // until all was whole, seconds
	Figures map[string]float64 `json:"figures,omitempty"`
	Error   string             `json:"error,omitempty"` // why it could not be measured, or all was not whole again
}

// worst is the worst of all samples of a fault, each value for itself.
type worst struct {
	runs, failed int // failed were not measured to the end
	sample
	broken  int // runs in which the connection broke
	refused int
	figures map[string][]float64 // all values
	why     string               // of the first that failed
}

func worstOf(all []*sample) worst {
	w := worst{figures: map[string][]float64{}}
	for _, s := range all {
		w.runs++
		if s.Error != "" {
			w.failed++
			if w.why == "" {
				w.why, _, _ = strings.Cut(s.Error, "\n")
			}
		}
		if s.Lost > w.Lost || w.Sent == 0 {
			w.Lost, w.Sent = s.Lost, s.Sent
		}
		if s.Failed > w.Failed || w.Asked == 0 {
			w.Failed, w.Asked = s.Failed, s.Asked
		}
		w.Stall = max(w.Stall, s.Stall)
		if s.Broken != "" {
			w.broken++
		}
		w.Starts += s.Starts
		w.refused += len(s.Refused)
		w.Slowest = max(w.Slowest, s.Slowest)
		w.Whole = max(w.Whole, s.Whole)
		for name, v := range s.Figures {
			w.figures[name] = append(w.figures[name], v)
		}
	}
	return w
}

// kept is what went on as if nothing had happened, in every run.
func (w worst) kept() string {
	var out []string
	for _, k := range []struct {
		holds bool
		what  string
	}{
		{w.Lost == 0, "every packet"},
		{w.broken == 0 && w.Stall < time.Second, "the connection"},
		{w.Failed == 0, "names"},
		{w.Starts > 0 && w.refused == 0, "`docker run`"},
	} {
		if k.holds {
			out = append(out, k.what)
		}
	}
	if len(out) == 0 {
		return "nothing of this"
	}
	return strings.Join(out, ", ")
}
