package main

import (
	"bytes"
	_ "embed" // the document around the tables
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/weft-net/weft/test/machine"
)

//go:embed faults.md.tmpl
var frame string

// report is all that was measured.
type report struct {
	Machine machine.Machine `json:"machine"`
	Command string          `json:"command"`
	Outage  time.Duration   `json:"outage_ns"` // of Consul in consul-down
	Samples []*sample       `json:"samples"`
	Leaks   []leak          `json:"leaks"` // of each lab
}

// of are the samples of a fault.
func (r *report) of(f *fault) []*sample {
	return slices.DeleteFunc(slices.Clone(r.Samples), func(s *sample) bool { return s.Fault != f.name })
}

// row is the fault's title as the table has it.
func (f *fault) row(outage time.Duration) string {
	if strings.Contains(f.title, "%s") {
		return fmt.Sprintf(f.title, fmt.Sprintf("%g min", outage.Minutes()))
	}
	return f.title
}

// runs is how often faults were played.
func (r *report) runs() int {
	n := 0
	for _, s := range r.Samples {
		n = max(n, s.Run)
	}
	return n
}

// leaked is the title of the last row.
const leaked = "after all of these: what is left when containers and networks are removed"

// document is docs/faults.md with the rows of the faults.
func (r *report) document(list []*fault) ([]byte, error) {
	t, err := template.New("faults.md").Parse(frame)
	if err != nil {
		return nil, err
	}
	var machineTable, mainTable, figureTable, misses bytes.Buffer
	machine.Table(&machineTable, append([][]string{{"", ""}}, append(r.Machine.Rows(), []string{"command", "`" + r.Command + "`"})...))
	lines := [][]string{{"fault", "what kept working", "packets lost", "longest wait of the TCP stream", "lookups failed", "`docker run` failed", "whole again after", "goals"}}
	figures := [][]string{{"fault", "figure", "worst", "all", "goal"}}
	for _, f := range list {
		w := worstOf(r.of(f))
		verdicts := w.verdicts(f)
		for _, v := range verdicts {
			if strings.HasPrefix(v, missed) {
				fmt.Fprintf(&misses, "- %s: %s\n", f.row(r.Outage), v)
			}
		}
		lines = append(lines, []string{
			f.row(r.Outage), w.kept(), fmt.Sprintf("%d of %d", w.Lost, w.Sent), w.stream(), fmt.Sprintf("%d of %d", w.Failed, w.Asked),
			w.starts(), seconds(w.Whole), strings.Join(verdicts, "; "),
		})
		if w.runs < r.runs() {
			fmt.Fprintf(&misses, "- %s: played %d times only\n", f.row(r.Outage), w.runs)
		}
		if w.failed > 0 {
			fmt.Fprintf(&misses, "- %s: %d of %d runs were not measured to the end: %s\n", f.row(r.Outage), w.failed, w.runs, w.why)
		}
		for _, g := range f.figures {
			line := []string{f.row(r.Outage), g.title, "not measured", "", ""}
			if all := w.figures[g.name]; len(all) > 0 {
				line[2] = g.value(slices.Max(all))
				var each []string
				for _, v := range all {
					each = append(each, g.value(v))
				}
				line[3] = strings.Join(each, ", ")
			}
			if g.limited() {
				line[4] = g.verdict(w.figures[g.name])
				if strings.HasPrefix(line[4], missed) {
					fmt.Fprintf(&misses, "- %s: %s: %s, %s\n", f.row(r.Outage), g.title, line[2], line[4])
				}
			}
			figures = append(figures, line)
		}
	}
	var l leak
	for _, one := range r.Leaks {
		l = l.max(one)
	}
	verdict := met + " (0 of all)"
	if !l.none() {
		verdict = missed + " (0 of all)"
		fmt.Fprintf(&misses, "- %s: %s\n", leaked, l)
	}
	lines = append(lines, []string{leaked, l.String(), "", "", "", "", "", verdict})
	machine.Table(&mainTable, lines)
	machine.Table(&figureTable, figures)
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"Machine": machineTable.String(), "Table": mainTable.String(), "Figures": figureTable.String(), "Misses": misses.String(),
		"Runs": r.runs(), "Labs": len(r.Leaks), "Ahead": ahead,
	})
	return out.Bytes(), err
}

// Verdicts.
const (
	met    = "met"
	missed = "MISSED"
)

func verdict(ok bool, goal string) string {
	if ok {
		return met + " (" + goal + ")"
	}
	return missed + " (" + goal + ")"
}

// verdicts says which of the fault's goals are met.
func (w worst) verdicts(f *fault) []string {
	var out []string
	if w.runs == 0 {
		return []string{"not measured"}
	}
	if f.lossless {
		out = append(out, verdict(w.Lost == 0 && w.broken == 0 && w.failed == 0, "0 lost"))
	}
	if f.startful {
		out = append(out, verdict(w.Starts > 0 && w.refused == 0 && w.failed == 0, "0 failed starts"))
	}
	return out
}

func (w worst) stream() string {
	if w.broken > 0 {
		return fmt.Sprintf("broke in %d of %d runs", w.broken, w.runs)
	}
	return fmt.Sprintf("%d ms", w.Stall.Milliseconds())
}

func (w worst) starts() string {
	if w.Starts == 0 {
		return "not tried"
	}
	return fmt.Sprintf("%d of %d, the slowest took %s", w.refused, w.Starts, seconds(w.Slowest))
}

func seconds(v float64) string { return fmt.Sprintf("%.1f s", v) }

// counts says that the figure is a number of things.
func (g figure) counts() bool { return strings.HasSuffix(g.title, ", number") }

// limited says that the figure has a goal.
func (g figure) limited() bool { return g.goal > 0 || g.counts() }

func (g figure) value(v float64) string {
	if g.counts() {
		return fmt.Sprint(int(v))
	}
	return fmt.Sprintf("%.2f s", v)
}

func (g figure) verdict(all []float64) string {
	goal := fmt.Sprintf("at most %g s", g.goal)
	if g.counts() {
		goal = fmt.Sprint(g.goal)
	}
	return verdict(len(all) > 0 && slices.Max(all) <= g.goal, goal)
}

// String tells what is left.
func (l leak) String() string {
	if l.Error != "" {
		return "not measured: " + l.Error
	}
	return fmt.Sprintf("%d goroutines, %d namespaces, %d ends of veth pairs, %d records", max(0, l.Goroutines), l.Namespaces, l.Links, l.Records)
}

// save writes all samples to a file, if it has a name.
func (r *report) save(file string) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the samples: %w", err)
	}
	return nil
}

// failed says what could not be measured.
func (r *report) failed() error {
	var errs []error
	for _, s := range r.Samples {
		if s.Error != "" {
			errs = append(errs, fmt.Errorf("%s, run %d: %s", s.Fault, s.Run, s.Error))
		}
	}
	for _, l := range r.Leaks {
		if l.Error != "" {
			errs = append(errs, errors.New("count what is left: "+l.Error))
		}
	}
	return errors.Join(errs...)
}
