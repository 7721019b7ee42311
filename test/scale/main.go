package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	is, code, err := inside(ctx)
	if is && err == nil {
		err = run(ctx, os.Args[1:])
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// options are what a user may ask for.
type options struct {
	settings
	json, profile, log string
}

func parse(args []string) (options, error) {
	var o options
	var minutes float64
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.IntVar(&o.Hosts, "hosts", 10, "hosts at the beginning; one more joins later, and one dies")
	f.IntVar(&o.Networks, "networks", 10, "networks of the cluster")
	f.IntVar(&o.Endpoints, "endpoints", 100, "containers' interfaces that run before anything is measured")
	f.Float64Var(&minutes, "minutes", 2, "how long the phases last together, without the waiting between them")
	f.Float64Var(&o.Rate, "rate", 2, "starts and stops a second, in the whole cluster")
	f.Float64Var(&o.Loss, "loss", 0, "of 100 direct messages so many are lost")
	f.Uint64Var(&o.Seed, "seed", 1, "decides what happens where")
	f.StringVar(&o.json, "json", "", "write the figures to this file too")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of the churn to this file, for go tool pprof")
	f.StringVar(&o.log, "log", "", "write what the hosts log to this file, at level debug")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is not an option", f.Arg(0))
	}
	o.Lasts, o.Patience, o.Lease = time.Duration(minutes*float64(time.Minute)), 10*time.Minute, true
	return o, o.check()
}

// run simulates and prints. It fails too if something did not hold.
func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	log := quiet()
	if o.log != "" {
		f, err := os.Create(o.log)
		if err != nil {
			return err
		}
		defer f.Close()
		log.SetOutput(f)
		log.SetLevel(logrus.DebugLevel)
	}
	dir, err := os.MkdirTemp("", "weft-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &simulation{
		settings: o.settings, dir: dir, states: memoryDir(dir), log: log,
		say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	if s.states != dir {
		defer os.RemoveAll(s.states)
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		s.profile = func() (stop func(), err error) { return pprof.StopCPUProfile, pprof.StartCPUProfile(f) }
	}
	report, err := s.run(ctx)
	report.write(os.Stdout)
	if o.json != "" {
		err = errors.Join(err, writeJSON(o.json, *report))
	}
	return err
}

// memoryDir makes a directory in memory; if it cannot, other will do.
func memoryDir(other string) string {
	dir, err := os.MkdirTemp("/dev/shm", "weft-scale-")
	if err != nil {
		return other
	}
	return dir
}

// quiet is a logger of which nobody hears.
func quiet() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(discard{})
	return log
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func writeJSON(path string, r report) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}
