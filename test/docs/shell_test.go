package docs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// How long one command may take, and how long what others bring about may be
// waited for. Both are many times what they take on an idle machine.
const (
	limit  = 8 * time.Minute
	waited = time.Minute
)

// shell is a bash that runs commands one after another, as a person does.
type shell struct {
	in     io.Writer
	lines  chan string
	script string // a file that both sides see
	n      int
}

// newShell starts a shell. dir is a folder for what it is told.
func newShell(t *testing.T, bash *exec.Cmd, dir, before string) *shell {
	t.Helper()
	in, err := bash.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w := io.Pipe()
	bash.Stdout, bash.Stderr = w, w
	bash.WaitDelay = time.Second // what it has left in the background has its output too
	if err := bash.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = bash.Process.Kill()
		_ = bash.Wait()
		w.Close()
	})
	s := &shell{in: in, lines: make(chan string, 1000), script: filepath.Join(dir, "command")}
	go func() {
		defer close(s.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			s.lines <- scan.Text()
		}
	}()
	if out, err := s.run("set -o pipefail; " + before); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

// run runs one command and gives all that it printed.
func (s *shell) run(text string) (string, error) {
	s.n++
	end := fmt.Sprintf("--- end of command %d: ", s.n)
	if err := os.WriteFile(s.script, []byte(text+"\n"), 0o600); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(s.in, "source %q </dev/null\necho $'\\n'\"%s$?\"\n", s.script, end); err != nil {
		return "", err
	}
	var out []string
	timeout := time.After(limit)
	for {
		select {
		case line, open := <-s.lines:
			if !open {
				return strings.Join(out, "\n"), fmt.Errorf("the shell ended")
			}
			if code, ended := strings.CutPrefix(line, end); ended {
				all := strings.TrimSuffix(strings.Join(out, "\n"), "\n")
				if n, err := strconv.Atoi(code); err != nil || n != 0 {
					return all, fmt.Errorf("exit code %s", code)
				}
				return all, nil
			}
			out = append(out, line)
		case <-timeout:
			return strings.Join(out, "\n"), fmt.Errorf("not done within %s", limit)
		}
	}
}

// Commands that only look, or may be given again: what they wait for, others
// bring about.
var again = regexp.MustCompile(`^(docker (network (ls|inspect)|run --rm|exec|info|node ls)|weft |consul |curl |ping )`)

// Refusals that a document shows, with the program's exit code.
var refusal = regexp.MustCompile(`^(Error response from daemon|docker: Error|weft): `)

// refused says that the document shows the command refused.
func (c command) refused() bool { return slices.ContainsFunc(c.prints, refusal.MatchString) }

// play runs a command as the document has it, and wants it to succeed and to
// print what the document says.
func (s *shell) play(t *testing.T, c command) {
	t.Helper()
	want := expected(c.prints)
	refused := c.refused()
	var first error // why the command was given again
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		out, err := s.run(c.text)
		switch {
		case (err != nil) != refused:
			err = fmt.Errorf("it ends with %w, and should %s", err, map[bool]string{true: "be refused", false: "succeed"}[refused])
		case want != nil && !want.MatchString(out):
			err = fmt.Errorf("it does not print what the document says: %q", c.prints)
		default:
			if took := time.Since(began); first != nil && took > 2*time.Second {
				t.Logf("%s\nneeded %s; at first %v", c, took.Round(100*time.Millisecond), first)
			}
			return
		}
		if first == nil {
			first = fmt.Errorf("%w\n%s", err, out)
		}
		if !again.MatchString(c.text) || time.Since(began) > waited {
			t.Errorf("%s\n%v\n%s", c, err, out)
			return
		}
	}
}

// expected makes a pattern of what a document says that a command prints.
func expected(lines []string) *regexp.Regexp {
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "…" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString(`(?m)^`)
	for i, line := range lines {
		if strings.TrimSpace(line) == "…" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		var words []string
		for word := range strings.FieldsSeq(line) {
			words = append(words, strings.ReplaceAll(regexp.QuoteMeta(word), "…", ".*?"))
		}
		b.WriteString(`\s*` + strings.Join(words, `\s+`) + `\s*?$`)
		if i < len(lines)-1 {
			b.WriteString(`\n`)
		}
	}
	return regexp.MustCompile(b.String())
}
