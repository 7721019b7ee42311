package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := measure(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// options are what a user may ask for.
type options struct {
	only       []*fault
	all        bool // faults, that is
	runs       int
	parallel   int
	beside     int
	outage     time.Duration
	json, out  string
	from       string
	weft, next string
}

func parse(args []string) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("faults", flag.ContinueOnError)
	f.StringVar(&only, "only", "all", "what to play, with commas between: "+strings.Join(names(), ", "))
	f.IntVar(&o.runs, "runs", 5, "how often each fault is played")
	f.IntVar(&o.parallel, "parallel", 5, "labs on which faults that mostly wait are played, beside those for all others")
	f.IntVar(&o.beside, "beside", 1, "labs on which all others are played")
	f.DurationVar(&o.outage, "outage", 10*time.Minute, "how long Consul is away in consul-down")
	f.StringVar(&o.json, "json", "", "write all samples to this file")
	f.StringVar(&o.out, "out", "", "write the document to this file; without, it goes to standard output")
	f.StringVar(&o.from, "from", "", "play nothing, and write the document from a file that -json has written")
	f.StringVar(&o.weft, "weft", os.Getenv("WEFT_BIN"), "the program (WEFT_BIN)")
	f.StringVar(&o.next, "next", "", "the program that an upgrade brings; by default the same")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is not an option", f.Arg(0))
	}
	if o.runs < 1 || o.parallel < 1 || o.beside < 1 || o.outage <= 0 {
		return o, errors.New("numbers and times must be above 0")
	}
	if o.weft == "" {
		o.weft = filepath.Join("bin", "weft")
	}
	if o.next == "" {
		o.next = o.weft
	}
	for name := range strings.SplitSeq(only, ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(faults(), func(f *fault) bool { return f.name == name })
		switch {
		case name == "all":
			o.only, o.all = faults(), true
		case i >= 0:
			o.only = append(o.only, faults()[i])
		default:
			return o, fmt.Errorf("there is no fault %q; there are all, %s", name, strings.Join(names(), ", "))
		}
	}
	return o, nil
}

// command is what does the same again, wherever files are.
func (o options) command() string {
	out := "make faults"
	if !o.all {
		var list []string
		for _, f := range o.only {
			list = append(list, f.name)
		}
		out += " FAULTS=" + strings.Join(list, ",")
	}
	return fmt.Sprintf("%s RUNS=%d FAULTFLAGS='-parallel %d -beside %d -outage %s'", out, o.runs, o.parallel, o.beside, o.outage)
}

func names() []string {
	var out []string
	for _, f := range faults() {
		out = append(out, f.name)
	}
	return out
}

// measure plays what was asked for and writes the document. That a goal is
// missed is not an error; that something could not be measured is.
func measure(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	r := &report{Command: o.command(), Outage: o.outage}
	if o.from != "" {
		text, err := os.ReadFile(o.from)
		if err == nil {
			err = json.Unmarshal(text, r)
		}
		if err != nil {
			return fmt.Errorf("read the samples: %w", err)
		}
	} else if err := playAll(ctx, o, r); err != nil {
		return err
	}
	if err := r.save(o.json); err != nil {
		return err
	}
	text, err := r.document(o.only)
	if err != nil {
		return err
	}
	if o.out == "" {
		_, err = os.Stdout.Write(text)
	} else {
		err = os.WriteFile(o.out, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return r.failed()
}
