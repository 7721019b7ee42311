package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weft-net/weft/test/machine"
)

// report is all that a run found out.
type report struct {
	Machine  machine.Machine `json:"machine"`
	Sections []*section      `json:"sections"`
}

// write writes the report as tables that are also Markdown.
func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "\n# weft, measured\n\n")
	machine.Table(w, append([][]string{{"", ""}}, r.Machine.Rows()...))
	verdicts := map[string]int{}
	for _, s := range r.Sections {
		s.write(w)
		for _, row := range s.Rows {
			if row.Verdict != "" {
				verdicts[row.Verdict]++
			}
		}
	}
	fmt.Fprintf(w, "\nGoals: %d met, %d missed", verdicts[met], verdicts[missed]+verdicts[unsure])
	if n := verdicts[unsure]; n > 0 {
		fmt.Fprintf(w, " (%d of them within the spread of the rounds)", n)
	}
	fmt.Fprintln(w, ".")
}

func (s *section) write(w io.Writer) {
	fmt.Fprintf(w, "\n## %s: %s\n\n", s.Name, s.Title)
	head := append([]string{""}, s.Columns...)
	ratios := slices.ContainsFunc(s.Rows, func(r *row) bool { return r.Ratio != nil })
	if ratios {
		head = append(head, "ratio")
	}
	lines := [][]string{append(head, "goal", "verdict")}
	for _, r := range s.Rows {
		line := []string{r.Name}
		for _, c := range s.Columns {
			line = append(line, r.cell(c))
		}
		if ratios {
			ratio := ""
			if r.Ratio != nil {
				ratio = fmt.Sprintf("%.2f (%.2f–%.2f)", r.Ratio.Median, r.Ratio.Low, r.Ratio.High)
			}
			line = append(line, ratio)
		}
		lines = append(lines, append(line, r.Goal, r.Verdict))
	}
	machine.Table(w, lines)
	notes := slices.Clone(s.Notes)
	for _, r := range s.Rows {
		if r.Note != "" {
			notes = append(notes, r.Name+": "+r.Note)
		}
	}
	if s.Error != "" {
		notes = append(notes, "FAILED, figures are missing: "+s.Error)
	}
	if len(notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, note := range notes {
		fmt.Fprintln(w, "- "+strings.ReplaceAll(note, "\n", " "))
	}
}
