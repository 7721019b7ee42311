package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/weft-net/weft/driver/doctor"
)

// manCommand writes the manual pages. It is for `make man`, and so not shown.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages into a directory", Hidden: true, Args: oneArg("a directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := manDate(os.Getenv("SOURCE_DATE_EPOCH"))
			if err != nil {
				return usageError("%w", err)
			}
			return writeMan(cmd.Root(), args[0], date)
		},
	}
}

// manDate is the day of the pages (https://reproducible-builds.org/specs/source-date-epoch/).
func manDate(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q is refused: it takes seconds since 1970", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// writeMan writes the page of cmd and of all below it.
func writeMan(cmd *cobra.Command, dir string, date time.Time) error {
	cmd.DisableAutoGenTag = true
	page, err := manPage(cmd, date)
	if err != nil {
		return fmt.Errorf("write the manual page of `%s`: %w", cmd.CommandPath(), err)
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".8"
	if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil { //nolint:gosec // manual pages are for everybody
		return fmt.Errorf("write a manual page: %w", err)
	}
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() || cmd.Name() == "completion" {
			continue
		}
		if err := writeMan(c, dir, date); err != nil {
			return err
		}
	}
	return nil
}

func manPage(cmd *cobra.Command, date time.Time) ([]byte, error) {
	long := cmd.Long
	defer func() { cmd.Long = long }()
	cmd.Long = literal(long)
	var page bytes.Buffer
	header := &doc.GenManHeader{Section: "8", Date: &date, Source: "weft", Manual: "weft"}
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return nil, err
	}
	body, also, _ := strings.Cut(page.String(), "\n.SH SEE ALSO")
	body += environment(cmd) + exitStatus(cmd)
	if also != "" {
		body += "\n.SH SEE ALSO" + also
	}
	return []byte(ascii(strings.TrimRight(body, "\n") + "\n")), nil
}

// literal turns the indented lines of a help text into blocks that Markdown leaves as
// they are.
func literal(text string) string {
	var out []string
	before := ""
	for line := range strings.SplitSeq(text, "\n") {
		if indented := strings.HasPrefix(line, "  "); indented {
			if !strings.HasPrefix(before, "  ") && before != "" {
				out = append(out, "")
			}
			out = append(out, "    "+strings.TrimPrefix(line, "  "))
		} else {
			out = append(out, line)
		}
		before = line
	}
	return strings.Join(out, "\n")
}

// environment is the section on variables. `weft serve` has one for each flag, and
// Consul's; other commands have only the one that says where the daemon is.
func environment(cmd *cobra.Command) string {
	var rows []string
	row := func(name, text string) { rows = append(rows, ".TP\n\\fB"+roff(name)+"\\fP\n"+roff(text)+"\n") }
	if cmd.Name() == "serve" {
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" {
				row(variable(f.Name), "the same as --"+f.Name)
			}
		})
		for _, v := range consulVariables {
			row(v.name, v.text)
		}
	}
	if cmd.Flag("control") != nil && cmd.Name() != "completion" && cmd.Name() != "version" {
		row("WEFT_CONTROL", "the same as --control")
	}
	if rows == nil {
		return ""
	}
	return "\n.SH ENVIRONMENT\n" + strings.Join(rows, "")
}

// exitCode is what a code means.
type exitCode struct {
	code int
	text string
}

// exitStatus is the section on exit codes.
func exitStatus(cmd *cobra.Command) string {
	codes := []exitCode{
		{exitOK, "done"},
		{exitFailed, "failed, with one sentence on the standard error"},
		{exitUsage, "refused: a mistake in the command line or in a variable, with one sentence on the standard error"},
	}
	switch cmd.Name() {
	case "serve":
		codes[0].text = "ended by SIGTERM or SIGINT"
		codes = append(codes, exitCode{exitLeft, "ended by `weft leave`"})
	case "doctor":
		codes[0].text = "nothing is wrong"
		codes = append(codes, exitCode{doctor.SeveralCode, "several checks found something; if one did, its own code: see `weft doctor --list`"})
	case "status":
		codes[0].text = "all is well"
		codes = append(codes, exitCode{exitUnhealthy, "the daemon answered, and something is wrong that concerns this host"})
	}
	var b strings.Builder
	b.WriteString("\n.SH EXIT STATUS\n")
	for _, c := range codes {
		fmt.Fprintf(&b, ".TP\n\\fB%d\\fP\n%s\n", c.code, roff(c.text))
	}
	return b.String()
}

// ascii replaces other characters by their names in the formatter, so that its
// encoding does not matter.
func ascii(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

// roff escapes what would be an instruction to the formatter (groff_char(7)).
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`).Replace(text)
}
