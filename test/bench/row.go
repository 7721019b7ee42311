package main

import (
	"fmt"
	"strings"
)

// row is one thing that was measured, of each column of its section.
type row struct {
	Name    string               `json:"name"` // with its unit
	Samples map[string][]float64 `json:"samples"`
	Lower   bool                 `json:"lower_is_better"`
	Peer    string               `json:"peer,omitempty"`  // the column that weft is compared with
	Ratio   *spread              `json:"ratio,omitempty"` // weft's to the peer's, round by round
	Goal    string               `json:"goal,omitempty"`
	Verdict string               `json:"verdict,omitempty"`
	Note    string               `json:"note,omitempty"`
}

// Verdicts.
const (
	met    = "met"
	missed = "MISSED"
	unsure = "MISSED (within spread)" // less than three quarters of the rounds missed it
)

// section is a table of rows.
type section struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Columns []string `json:"columns"`
	Rows    []*row   `json:"rows"`
	Notes   []string `json:"notes,omitempty"`
	Error   string   `json:"error,omitempty"` // why something is missing
}

// row returns the section's row of that name, new if there is none.
func (s *section) row(name string, lower bool) *row {
	for _, r := range s.Rows {
		if r.Name == name {
			return r
		}
	}
	r := &row{Name: name, Lower: lower, Samples: map[string][]float64{}}
	s.Rows = append(s.Rows, r)
	return r
}

func (r *row) add(column string, value float64) {
	r.Samples[column] = append(r.Samples[column], value)
}

// compare judges weft's ratio to the peer against the limit, as in 1 for "at
// least as good".
func (r *row) compare(peer string, limit float64) {
	found := ratios(r.Samples[weft], r.Samples[peer])
	if len(found) == 0 {
		return
	}
	s := spreadOf(found)
	r.Peer, r.Ratio = peer, &s
	if limit == 0 {
		return
	}
	r.Goal = fmt.Sprintf("≥ %g × %s", limit, peer)
	value, best, bound := s.Median, s.High, limit
	if r.Lower {
		r.Goal = fmt.Sprintf("≤ %g × %s", limit, peer)
		value, best, bound = -s.Median, -s.Low, -limit
	}
	switch {
	case value >= bound:
		r.Verdict = met
	case best >= bound:
		r.Verdict = unsure
	default:
		r.Verdict = missed
	}
}

// judge says whether the figure is as the goal wants it.
func (r *row) judge(goal string, ok bool) {
	r.Goal, r.Verdict = goal, missed
	if ok {
		r.Verdict = met
	}
}

// cell is what the table shows of a column.
func (r *row) cell(column string) string {
	samples := r.Samples[column]
	switch s := spreadOf(samples); {
	case len(samples) == 0:
		return ""
	case len(samples) == 1:
		return figure(s.Median)
	default:
		return fmt.Sprintf("%s (%s–%s)", figure(s.Median), figure(s.Min), figure(s.Max))
	}
}

// figure has three significant digits, and thousands apart.
func figure(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 100:
		text := fmt.Sprintf("%.0f", v)
		var groups []string
		for ; len(text) > 3; text = text[:len(text)-3] {
			groups = append([]string{text[len(text)-3:]}, groups...)
		}
		return strings.Join(append([]string{text}, groups...), ",")
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
