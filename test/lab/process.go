package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process identifies one run of a program: a pid comes back, the pair does not.
type process struct {
	pid   int
	start uint64 // clock ticks after boot, proc(5) stat field 22
}

// stat is what the lab reads from /proc/PID/stat.
type stat struct {
	state   byte
	parent  int
	threads int
	start   uint64
}

// dead reports whether nothing of the process is left but its name. A killed
// process is a zombie already while other threads of it still hold its files.
func (s stat) dead() bool { return s.state == 'X' || s.state == 'Z' && s.threads <= 1 }

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The command in parentheses may itself hold spaces and parentheses.
	i := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[i+1:]))
	if i < 0 || len(fields) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return stat{}, fmt.Errorf("parent of process %d: %w", pid, err)
	}
	threads, err := strconv.Atoi(fields[17])
	if err != nil {
		return stat{}, fmt.Errorf("threads of process %d: %w", pid, err)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	return stat{state: fields[0][0], parent: parent, threads: threads, start: start}, nil
}

// identify returns the process which has the pid now.
func identify(pid int) (process, error) {
	s, err := readStat(pid)
	return process{pid: pid, start: s.start}, err
}

// alive reports whether the process still runs.
func (p process) alive() bool {
	if p.pid == 0 {
		return false
	}
	s, err := readStat(p.pid)
	return err == nil && s.start == p.start && !s.dead()
}

// signal sends sig unless the process is gone.
func (p process) signal(sig unix.Signal) error {
	if !p.alive() {
		return nil
	}
	if err := unix.Kill(p.pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), p.pid, err)
	}
	return nil
}

func (p process) save(path string) error {
	return os.WriteFile(path, fmt.Appendf(nil, "%d %d\n", p.pid, p.start), 0o600)
}

// loadProcess reads a file written by save; no file is no process.
func loadProcess(path string) process {
	var p process
	text, err := os.ReadFile(path)
	if err != nil {
		return process{}
	}
	if _, err := fmt.Sscan(string(text), &p.pid, &p.start); err != nil {
		return process{}
	}
	return p
}

// pids lists the machine's processes.
func pids() ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			all = append(all, pid)
		}
	}
	return all, nil
}
