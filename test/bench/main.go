package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/bench/traffic"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/machine"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	command := measureAll
	if len(os.Args) > 1 && os.Args[1] == trafficCommand {
		command = measureTraffic
	}
	return command(ctx)
}

// options are what a user may ask for.
type options struct {
	lab    string
	json   string
	only   []string
	rounds int
	runs   int
	pings  int
	span   time.Duration
	idle   time.Duration
	storm  int
}

func parse(args []string) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.lab, "lab", "", "measure on this lab, which stays, and not on one of its own")
	f.StringVar(&o.json, "json", "", "write all samples to this file")
	f.StringVar(&only, "only", "all", "what to measure, with commas between: "+strings.Join(names(), ", ")+"; all is all but storm")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of traffic")
	f.IntVar(&o.runs, "runs", 20, "rounds of docker run and docker network create")
	f.IntVar(&o.pings, "pings", 100, "containers whose first ping is looked at")
	f.DurationVar(&o.span, "span", time.Second, "length of one measurement of traffic")
	f.DurationVar(&o.idle, "idle", time.Minute, "how long the idle daemon is watched")
	f.IntVar(&o.storm, "storm", 1_000_000, "random allocations of storm")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is not an option", f.Arg(0))
	}
	if o.rounds < 1 || o.runs < 1 || o.pings < 1 || o.storm < 1 || o.span <= 0 || o.idle <= 0 {
		return o, errors.New("numbers and times must be above 0")
	}
	for name := range strings.SplitSeq(only, ",") {
		switch name = strings.TrimSpace(name); {
		case name == "all":
			o.only = append(o.only, slices.DeleteFunc(names(), func(n string) bool { return n == "storm" })...)
		case slices.Contains(names(), name):
			o.only = append(o.only, name)
		default:
			return o, fmt.Errorf("there is no benchmark %q; there are all, %s", name, strings.Join(names(), ", "))
		}
	}
	return o, nil
}

// measureAll does what was asked for and prints the table. That a goal is missed
// is not an error; that something could not be measured is.
func measureAll(ctx context.Context) (err error) {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	l, down, err := openLab(ctx, o.lab)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, down()) }()
	b := &bench{options: o, lab: l, h1: l.Host("h1"), h2: l.Host("h2")}
	if b.h1 == nil || b.h2 == nil {
		return fmt.Errorf("the lab %s has less than two hosts", l.Name())
	}
	defer func() { err = errors.Join(err, b.tidy(context.WithoutCancel(ctx))) }()

	var r report
	if r.Machine, err = machine.Inspect(ctx, l); err != nil {
		return err
	}
	var failed []error
	for _, p := range parts() {
		if !slices.Contains(o.only, p.name) {
			continue
		}
		b.say("%s: %s", p.name, p.title)
		s := &section{Name: p.name, Title: p.title}
		if err := p.measure(b, ctx, s); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			s.Error = err.Error()
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
		}
		r.Sections = append(r.Sections, s)
	}
	r.Machine.Load[1] = machine.Load()
	r.write(os.Stdout)
	if o.json != "" {
		failed = append(failed, writeJSON(o.json, r))
	}
	return errors.Join(failed...)
}

func writeJSON(path string, r report) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the samples: %w", err)
	}
	return nil
}

// openLab returns the lab of that name, or one of its own if there is no name,
// and what ends the use of it.
func openLab(ctx context.Context, name string) (*lab.Lab, func() error, error) {
	if name != "" {
		l, err := lab.Open(name, "")
		return l, func() error { return nil }, err
	}
	l, err := lab.Up(ctx, lab.Config{Name: fmt.Sprintf("bench-%d", os.Getpid()), Hosts: 2, Progress: os.Stderr})
	if err != nil {
		return nil, nil, err
	}
	return l, func() error { return l.Down(context.WithoutCancel(ctx)) }, nil
}

// trafficCommand makes this program one measurement of traffic, in a process of
// its own: trafficCommand FROM TO ADDRESS MEASURE DURATION.
const trafficCommand = "-traffic"

func measureTraffic(context.Context) error {
	if len(os.Args) != 7 {
		return errors.New("usage: bench -traffic FROM TO ADDRESS MEASURE DURATION")
	}
	address, err := netip.ParseAddr(os.Args[4])
	if err != nil {
		return err
	}
	m, err := traffic.ParseMeasure(os.Args[5])
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(os.Args[6])
	if err != nil {
		return err
	}
	r, err := traffic.Run(traffic.Job{From: os.Args[2], To: os.Args[3], Address: address, Measure: m, Duration: d})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
