package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// every walks the commands that users see.
func every(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			every(c, f)
		}
	}
}

func TestEveryCommandIsExplained(t *testing.T) {
	every(newRoot(), func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" || cmd.Runnable() && !cmd.HasSubCommands() && cmd.Example == "" {
			t.Errorf("`%s` wants a line, a paragraph and an example", cmd.CommandPath())
		}
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			if line != "" && !strings.HasPrefix(line, "  ") {
				t.Errorf("`%s`: the example's line %q is not indented", cmd.CommandPath(), line)
			}
		}
	})
}

func TestManualPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	pages := func() map[string]string {
		t.Helper()
		dir := t.TempDir()
		if code, stdout, stderr := weft(t, "man", dir); code != exitOK || stdout+stderr != "" {
			t.Fatalf("code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			out[f.Name()] = string(text)
		}
		return out
	}
	first := pages()
	for name, want := range map[string][]string{
		"weft.8":            {`.TH "WEFT" "8" "Nov 2023"`, "weft-serve(8)"},
		"weft-serve.8":      {".SH ENVIRONMENT\n", `\fBWEFT_STORE\fP`, `\fBCONSUL_CACERT\fP`, ".SH EXIT STATUS\n", ".SH SEE ALSO", `\-\-vxlan\-port`},
		"weft-status.8":     {`\fB3\fP`},
		"weft-network-ls.8": {"conflict  Docker here cannot have it, see weft status\n"},
	} {
		for _, words := range want {
			if !strings.Contains(first[name], words) {
				t.Errorf("%s has no %q:\n%s", name, words, first[name])
			}
		}
	}
	every(newRoot(), func(cmd *cobra.Command) {
		if name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".8"; first[name] == "" {
			t.Errorf("there is no %s", name)
		}
	})
	for name, text := range pages() {
		if text != first[name] {
			t.Errorf("%s is another one the second time", name)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if code, _, stderr := weft(t, "man", t.TempDir()); code != exitUsage || !strings.Contains(stderr, "SOURCE_DATE_EPOCH") {
		t.Errorf("code %d, %q", code, stderr)
	}
}

func TestShellsCompleteNames(t *testing.T) {
	at := daemonOf(t, small())
	for args, want := range map[string]string{
		"network inspect":       "web\n:4\n",
		"network inspect web":   ":4\n",
		"host forget":           "h1\nh2\n:4\n",
		"log-level":             "debug\nerror\ninfo\nwarn\n:4\n",
		"endpoint ls --network": "web\n:4\n",
		"endpoint ls --host":    "h1\nh2\n:4\n",
	} {
		_, stdout, _ := weft(t, append(append([]string{"__complete", "--control", at}, strings.Fields(args)...), "")...)
		if stdout != want {
			t.Errorf("%s: %q, want %q", args, stdout, want)
		}
		_, stdout, _ = weft(t, append(append([]string{"__complete", "--control", at + ".nowhere"}, strings.Fields(args)...), "")...)
		if args != "log-level" && stdout != ":4\n" {
			t.Errorf("%s without a daemon: %q", args, stdout)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, stdout, stderr := weft(t, "completion", shell); code != exitOK || !strings.Contains(stdout, "weft") || stderr != "" {
			t.Errorf("completion %s: code %d, stderr %q", shell, code, stderr)
		}
	}
}
