package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/test/machine"
)

// job is faults that are played one after another on one lab.
type job struct {
	kind   kind
	run    int
	faults []*fault
}

// jobs gives each run of each kind a lab, once for those that wait and once for
// those that do not. The longest come first.
func jobs(o options, waits bool) []job {
	var out []job
	for _, k := range []kind{plain, three, reap} {
		for run := range o.runs {
			j := job{kind: k, run: run + 1}
			for _, f := range o.only {
				if f.lab == k && f.waits == waits {
					j.faults = append(j.faults, f)
				}
			}
			if len(j.faults) > 0 {
				out = append(out, j)
			}
		}
	}
	return out
}

// apart is how much later than the one before it a lab begins: those that play the
// same would measure all at once otherwise, each other's load.
const apart = 10 * time.Second

// playAll plays the faults that mostly wait side by side, and the others, by
// default one after another, beside them.
func playAll(ctx context.Context, o options, r *report) error {
	var waiting, others errgroup.Group
	waiting.SetLimit(o.parallel)
	others.SetLimit(o.beside)
	c, began := &collector{report: r}, time.Now()
	var both sync.WaitGroup
	for group, list := range map[*errgroup.Group][]job{&waiting: jobs(o, true), &others: jobs(o, false)} {
		both.Go(func() {
			for i, j := range list {
				group.Go(func() error {
					if err := last(ctx, time.Until(began.Add(time.Duration(i)*apart))); err != nil {
						return nil // interrupted: playAll says so
					}
					return c.job(ctx, o, j)
				})
			}
		})
	}
	both.Wait()
	err := errors.Join(waiting.Wait(), others.Wait())
	r.Machine.Load[1] = machine.Load()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// collector puts what is measured into a report.
type collector struct {
	mu     sync.Mutex
	report *report
	labs   int
}

// job plays all of a job's faults. After one that went wrong, a fresh stage is
// built.
func (c *collector) job(ctx context.Context, o options, j job) error {
	var s *stage
	end := func() error {
		if s == nil {
			return nil
		}
		err := s.down(context.WithoutCancel(ctx))
		s = nil
		return err
	}
	for _, f := range j.faults {
		if ctx.Err() != nil {
			break
		}
		if s == nil {
			var err error
			if s, err = newStage(ctx, o, j.kind, c.labName()); err != nil {
				return err
			}
			if err := c.inspect(ctx, s); err != nil {
				return errors.Join(err, end())
			}
		}
		sample := run(ctx, s, f, j.run)
		if err := c.add(sample, o.json); err != nil {
			return errors.Join(err, end())
		}
		if sample.Error != "" {
			s.keepLogs(f.name, j.run)
			if err := end(); err != nil {
				return err
			}
		}
	}
	if s == nil || ctx.Err() != nil {
		return end()
	}
	left := s.leaks(ctx)
	c.mu.Lock()
	c.report.Leaks = append(c.report.Leaks, left)
	c.mu.Unlock()
	say("%s, run %d: left behind: %+v", j.kind, j.run, left)
	return end()
}

func (c *collector) labName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.labs++
	return fmt.Sprintf("faults-%d-%d", os.Getpid(), c.labs)
}

// inspect notes what is measured, of the first lab there is.
func (c *collector) inspect(ctx context.Context, s *stage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.report.Machine.Date.IsZero() {
		return nil
	}
	var err error
	c.report.Machine, err = machine.Inspect(ctx, s.lab)
	return err
}

// add notes a sample. What there is so far can be read from the file.
func (c *collector) add(s *sample, file string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Samples = append(c.report.Samples, s)
	say("%s, run %d: lost %d of %d, stall %s, broken %q, %d of %d lookups failed, %d of %d starts refused %q, whole after %.2f s, %v %s",
		s.Fault, s.Run, s.Lost, s.Sent, s.Stall.Round(time.Millisecond), s.Broken, s.Failed, s.Asked, len(s.Refused), s.Starts, s.Refused, s.Whole, s.Figures, s.Error)
	return c.report.save(file)
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// keepLogs copies the logs out of a lab which is about to go.
func (s *stage) keepLogs(fault string, run int) {
	for _, h := range s.lab.Hosts() {
		for _, service := range h.Services() {
			to := fmt.Sprintf("%s/weft-faults-%s-%d-%s-%s.log", os.TempDir(), fault, run, h.Name(), service)
			log, err := os.ReadFile(h.Log(service))
			if err == nil {
				err = os.WriteFile(to, log, 0o600)
			}
			if err != nil {
				say("keep the log of %s on %s: %v", service, h.Name(), err)
			}
		}
	}
	say("the logs are in %s/weft-faults-%s-%d-*", os.TempDir(), fault, run)
}
