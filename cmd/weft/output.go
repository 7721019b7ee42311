package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "write JSON instead of a table")
}

// write gives v as JSON if the user asked for that, and else text's result.
func write(cmd *cobra.Command, v any, text func() string) error {
	asJSON, err := cmd.Flags().GetBool("json")
	if err != nil {
		return err
	}
	var out string
	if asJSON {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		out = string(b) + "\n"
	} else {
		out = text()
	}
	if _, err := fmt.Fprint(cmd.OutOrStdout(), out); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// table lines up rows under a header, if there is one. An empty cell is shown as "-",
// so that each line has as many words as columns.
func table(header []string, rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	line := func(cells []string) {
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) // a strings.Builder takes everything
	}
	if header != nil {
		line(header)
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = cmp.Or(printable(c), "-")
		}
		line(cells)
	}
	_ = w.Flush()
	return b.String()
}

// printable replaces what would disturb the terminal in a name.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// joined lists values in one word.
func joined[T fmt.Stringer](values []T) string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return strings.Join(out, ",")
}

// short cuts an id of Docker's as Docker does.
func short(id string) string { return id[:min(len(id), 12)] }

// moment is a time in now's zone, with how long ago it was; "" for none.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s)", t.In(now.Location()).Format(time.DateTime), ago(now.Sub(t)))
}

// ago is a duration to its largest unit or two.
func ago(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%dh%02dm ago", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh ago", d/day, d%day/time.Hour)
}
