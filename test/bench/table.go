package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// report is all that a run found out.
type report struct {
	Machine  machine    `json:"machine"`
	Sections []*section `json:"sections"`
}

// write writes the report as tables that are also Markdown.
func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "\n# weft, measured\n\n")
	r.Machine.write(w)
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
	align(w, lines)
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

// align writes lines of cells, the first of which is the head.
func align(w io.Writer, lines [][]string) {
	width := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for i, line := range lines {
		for j, cell := range line {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", width[j]-utf8.RuneCountInString(cell)))
		}
		fmt.Fprintln(w, "|")
		if i == 0 {
			for _, n := range width {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", n+2))
			}
			fmt.Fprintln(w, "|")
		}
	}
}
