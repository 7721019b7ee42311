package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The document has a row for every fault and a line for every figure that this
// program knows, and no others.
func TestTheDocumentHasEveryFault(t *testing.T) {
	text, err := os.ReadFile("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		switch len(cells) {
		case 10:
			have = append(have, strings.TrimSpace(cells[1]))
		case 7:
			have = append(have, strings.TrimSpace(cells[1])+": "+strings.TrimSpace(cells[2]))
		}
	}
	want := []string{"fault"}
	for _, f := range faults() {
		want = append(want, f.row(10*time.Minute))
	}
	want = append(want, leaked, "fault: figure")
	for _, f := range faults() {
		for _, g := range f.figures {
			want = append(want, f.row(10*time.Minute)+": "+g.title)
		}
	}
	have = slices.DeleteFunc(have, func(row string) bool { return strings.HasPrefix(row, "---") })
	if !slices.Equal(have, want) {
		t.Errorf("docs/faults.md has the rows\n%s\nwant\n%s\n`make faults` writes it anew", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}
