package machine

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table writes lines of cells, the first of which is the head, as Markdown that
// is also legible as it is.
func Table(w io.Writer, lines [][]string) {
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
