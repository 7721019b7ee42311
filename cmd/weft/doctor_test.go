package main

import (
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/control"
)

// What is only worth knowing is told, and is not called wrong.
func TestDoctorTellsNotesFromFindings(t *testing.T) {
	finding := func(s control.Severity) control.Finding {
		return control.Finding{Check: "c", Object: "host h1", Problem: "it is so", Cure: "do this", Severity: s}
	}
	for name, c := range map[string]struct {
		result control.CheckResult
		want   string
		well   bool
	}{
		"nothing":           {control.CheckResult{}, "ok ", true},
		"a note":            {control.CheckResult{Findings: []control.Finding{finding(control.Note)}}, "ok, 1 note ", true},
		"both":              {control.CheckResult{Findings: []control.Finding{finding(control.Note), finding(control.Risk), finding(control.Broken)}}, "2 findings, 1 note ", false},
		"what follows":      {control.CheckResult{Findings: []control.Finding{finding(control.Risk)}, Follows: []string{"x"}}, "1 finding, which follow from x ", true},
		"not made":          {control.CheckResult{NotChecked: "no"}, "not checked: no ", true},
		"a note, then none": {control.CheckResult{Findings: []control.Finding{finding(control.Note)}, NotChecked: "no"}, "1 note, not checked: no ", true},
	} {
		c.result.Check, c.result.About = "c", "what it is about"
		text := doctorText(control.Diagnosis{Host: "h1", Checks: []control.CheckResult{c.result}})
		if !strings.Contains(text, " "+c.want) || strings.Contains(text, "Nothing was found that is wrong") != c.well || strings.Count(text, "To do") != len(c.result.Findings) {
			t.Errorf("%s: want %q in:\n%s", name, c.want, text)
		}
	}
}
