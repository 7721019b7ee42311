// Command report reads what `go test -json` says, prints it as `go test` would, and
// notes how long each test took:
//
//	go test -json ./... | report [-v]
//
// Of a package that passed it prints one line, of one that failed the tests that did,
// and with -v all. Packages that run side by side are printed one after the other.
// For each test that is no part of another one it adds a line "SECONDS PACKAGE TEST"
// to the file $WEFT_TIMES, if that is set.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	all := flag.Bool("v", false, "print what passed too")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, os.Getenv("WEFT_TIMES"), *all); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, file string, all bool) error {
	times := io.Discard
	if file != "" {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		times = f
	}
	return newReport(out, times, all).read(in)
}

// event is what test2json makes of one line, or of the end of something.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

// report prints packages in the order in which their first line came.
type report struct {
	out, times io.Writer
	all        bool
	order      []string // of packages that are not printed yet; the first one's lines are printed at once
	packages   map[string]*pack
}

// pack is what a package has said.
type pack struct {
	said  []event // that are not printed yet, of Output
	tests map[string]bool
	over  bool
}

func newReport(out, times io.Writer, all bool) *report {
	return &report{out: out, times: times, all: all, packages: map[string]*pack{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if failed := r.line(line); failed != nil {
				return failed
			}
		}
		if err == io.EOF {
			return r.rest()
		}
		if err != nil {
			return err
		}
	}
}

// line takes one line of the input; one that is no JSON is go's own.
func (r *report) line(line string) error {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		_, err = io.WriteString(r.out, line)
		return err
	}
	if e.Action == "build-output" {
		_, err := io.WriteString(r.out, e.Output)
		return err
	}
	if e.Package == "" {
		return nil
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pack{tests: map[string]bool{}}
		r.packages[e.Package] = p
		r.order = append(r.order, e.Package)
	}
	switch e.Action {
	case "output":
		p.said = append(p.said, e)
	case "pass", "fail", "skip":
		if e.Test == "" {
			p.over = true
			break
		}
		p.tests[e.Test] = e.Action != "fail"
		if !strings.Contains(e.Test, "/") {
			if _, err := fmt.Fprintf(r.times, "%.2f %s %s\n", e.Elapsed, e.Package, e.Test); err != nil {
				return err
			}
		}
	}
	return r.print()
}

// print prints what is its turn.
func (r *report) print() error {
	for len(r.order) > 0 {
		p := r.packages[r.order[0]]
		if r.all || p.over {
			if err := r.say(p); err != nil {
				return err
			}
		}
		if !p.over {
			return nil
		}
		r.order = r.order[1:]
	}
	return nil
}

// say prints a package's lines; those of tests that passed only if all are wanted.
// A test without an end was cut off.
func (r *report) say(p *pack) error {
	for _, e := range p.said {
		passed := e.Test == "" && e.Output == "PASS\n" || strings.HasPrefix(e.Output, "-test.shuffle ") || p.tests[e.Test]
		if passed && !r.all {
			continue
		}
		if _, err := io.WriteString(r.out, e.Output); err != nil {
			return err
		}
	}
	p.said = nil
	return nil
}

// rest prints what go test did not live to end.
func (r *report) rest() error {
	for _, p := range r.packages {
		p.over = true
	}
	return r.print()
}
