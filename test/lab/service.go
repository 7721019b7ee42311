package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poll is how often the lab looks whether something has become true.
const poll = 20 * time.Millisecond

// service is one supervised program of a member. It outlives the process that
// starts it; the next one finds it by its pid file.
type service struct {
	member *member
	name   string
	argv   []string
	// prepare, if there is one, runs before each start.
	prepare func(ctx context.Context) error
	// ready returns nil once the service can be used.
	ready func(ctx context.Context) error
	// patience is how long ready may take.
	patience time.Duration
}

func (s *service) pidFile() string { return filepath.Join(s.member.Dir(), s.name+".pid") }
func (s *service) process() process {
	return loadProcess(s.pidFile())
}

// Log returns the path of the log all runs share.
func (s *service) Log() string { return filepath.Join(s.member.Dir(), s.name+".log") }

// PID returns the process id, 0 if the service does not run.
func (s *service) PID() int {
	if p := s.process(); p.alive() {
		return p.pid
	}
	return 0
}

// Signal sends any signal and does not wait.
func (s *service) Signal(sig unix.Signal) error { return s.process().signal(sig) }

// Kill ends the service with SIGKILL and returns when it is gone.
func (s *service) Kill(ctx context.Context) error { return s.end(ctx, unix.SIGKILL) }

// Stop ends the service with SIGTERM and returns when it is gone.
func (s *service) Stop(ctx context.Context) error { return s.end(ctx, unix.SIGTERM) }

// Start runs the service and waits until it is ready. A service which already
// runs is only waited for.
func (s *service) Start(ctx context.Context) error {
	if !s.process().alive() {
		if err := s.member.check(); err != nil {
			return err
		}
		if s.prepare != nil {
			if err := s.prepare(ctx); err != nil {
				return fmt.Errorf("start %s on %s: %w", s.name, s.member.name, err)
			}
		}
		log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("open the log of %s on %s: %w", s.name, s.member.name, err)
		}
		defer log.Close()
		args := append(s.member.enter(), s.argv...)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = s.member.environ()
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := s.member.lab.launch(cmd, s.pidFile()); err != nil {
			return fmt.Errorf("start %s on %s: %w", s.name, s.member.name, err)
		}
	}
	waiting, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	p := s.process()
	err := until(waiting, func() error {
		if !p.alive() {
			return final{errors.New("it ended")}
		}
		return s.ready(waiting)
	})
	if ctx.Err() != nil {
		return fmt.Errorf("wait for %s on %s: %w", s.name, s.member.name, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s on %s did not become ready: %w; its log ends:\n%s", s.name, s.member.name, err, tail(s.Log()))
	}
	return nil
}

// end sends sig and waits until the service has ended.
func (s *service) end(ctx context.Context, sig unix.Signal) error {
	p := s.process()
	if err := p.signal(sig); err != nil {
		return fmt.Errorf("%s on %s: %w", s.name, s.member.name, err)
	}
	err := until(ctx, func() error {
		if p.alive() {
			return fmt.Errorf("process %d still runs", p.pid)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s on %s does not end: %w", s.name, s.member.name, err)
	}
	return nil
}

// launch starts a command which outlives this process, notes it in pidFile and
// reaps it should it end first.
func (l *Lab) launch(cmd *exec.Cmd, pidFile string) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	p, err := identify(cmd.Process.Pid)
	if err == nil {
		err = p.save(pidFile)
	}
	l.children.Go(func() { _ = cmd.Wait() })
	return err
}
