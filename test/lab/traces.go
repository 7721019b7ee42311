package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// found is what of a lab lives on the machine.
type found struct {
	processes  []process
	namespaces []string // such as "net:[4026532201]"
}

// suspect is one process of the machine with all that tells whose it is.
type suspect struct {
	process
	parent     int
	marked     bool
	namespaces []string
}

// findProcesses returns every process of the lab. A process is the lab's when
// it carries the mark in its environment, is in one of the lab's cgroups,
// shares a network or mount namespace with such a process, or descends from
// one: containers hide the first three, each in another way.
func findProcesses(name, dir string) (found, error) {
	return findMarked(func(pid int) bool {
		return carries(pid, mark, dir) || inCgroup(pid, cgroup(name, dir))
	})
}

// findMarked returns every process that is marked, and those that share a
// namespace with one or descend from one.
func findMarked(marked func(pid int) bool) (found, error) {
	all, err := pids()
	if err != nil {
		return found{}, err
	}
	own := make(map[string]bool) // namespaces of the machine itself
	for _, pid := range []int{1, os.Getpid()} {
		for _, ns := range namespacesOf(pid) {
			own[ns] = true
		}
	}
	suspects := make(map[int]*suspect, len(all))
	for _, pid := range all {
		s, err := readStat(pid)
		if err != nil || s.dead() || pid == os.Getpid() {
			continue // gone meanwhile, or dead already
		}
		suspects[pid] = &suspect{
			process: process{pid: pid, start: s.start}, parent: s.parent,
			marked:     marked(pid),
			namespaces: namespacesOf(pid),
		}
	}

	guilty := make(map[int]bool)
	spaces := make(map[string]bool)
	for grown := true; grown; {
		grown = false
		for pid, s := range suspects {
			if guilty[pid] || !s.marked && !guilty[s.parent] &&
				!slices.ContainsFunc(s.namespaces, func(ns string) bool { return spaces[ns] }) {
				continue
			}
			guilty[pid] = true
			grown = true
			for _, ns := range s.namespaces {
				if !own[ns] {
					spaces[ns] = true
				}
			}
		}
	}
	var f found
	for pid := range guilty {
		f.processes = append(f.processes, suspects[pid].process)
	}
	for ns := range spaces {
		f.namespaces = append(f.namespaces, ns)
	}
	return f, nil
}

// carries says whether the process has the variable of that value.
func carries(pid int, variable, value string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	want := []byte(variable + "=" + value)
	return slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.Equal(v, want) })
}

func inCgroup(pid int, parent string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && strings.Contains(string(text), ":"+parent+"/")
}

// ofAnotherLab says whether the process carries the mark of another lab, or is
// in a cgroup of one.
func ofAnotherLab(pid int, name, dir string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err == nil && strings.Contains(string(text), ":"+cgroupPrefix) {
		return !inCgroup(pid, cgroup(name, dir))
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	i := slices.IndexFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return bytes.HasPrefix(v, []byte(mark+"=")) })
	return i >= 0 && !carries(pid, mark, dir)
}

func namespacesOf(pid int) []string {
	var all []string
	for _, kind := range []string{"net", "mnt"} {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err == nil {
			all = append(all, ns)
		}
	}
	return all
}

// Leaks returns what is left of the lab after Down, one line for each process,
// mount, namespace, cgroup and directory. Links need no line: a lab makes none
// outside of its namespaces. The kernel is given a few seconds to finish. Namespaces
// that were seen to be gone are not asked for again: somebody else has their numbers.
func (l *Lab) Leaks(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var left []string
	err := until(ctx, func() error {
		var err error
		if left, err = traces(l.Name(), l.dir); err != nil {
			return final{err}
		}
		held, err := heldNamespaces(l.namespaces, l.Name(), l.dir)
		if err != nil {
			return final{err}
		}
		if left = append(left, held...); len(left) > 0 {
			return errors.New("something is left")
		}
		l.namespaces = nil
		return nil
	})
	if errors.As(err, new(final)) {
		return nil, fmt.Errorf("look for what is left of the lab %s: %w", l.Name(), err)
	}
	return left, nil
}

// traces returns whatever on this machine belongs to the lab.
func traces(name, dir string) ([]string, error) {
	var left []string
	f, err := findProcesses(name, dir)
	if err != nil {
		return nil, err
	}
	for _, p := range f.processes {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		left = append(left, fmt.Sprintf("process %d: %s", p.pid, bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
	}
	all, err := pids()
	if err != nil {
		return nil, err
	}
	left = append(left, mountsOf(all, func(line string) bool {
		return strings.Contains(line, dir+"/") || strings.Contains(line, dir+" ")
	})...)
	cgroups, err := cgroupDirs(cgroup(name, dir))
	if err != nil {
		return nil, err
	}
	for _, c := range cgroups {
		left = append(left, "cgroup "+c)
	}
	if _, err := os.Lstat(dir); err == nil {
		left = append(left, "directory "+dir)
	}
	return left, nil
}

// heldNamespaces returns which of the namespaces a process or a mount keeps. The
// kernel gives the number of a namespace that is gone to a new one: one that
// another lab has is not this lab's any more.
func heldNamespaces(namespaces []string, name, dir string) ([]string, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	anothers := make(map[string]bool)
	all = slices.DeleteFunc(all, func(pid int) bool {
		another := ofAnotherLab(pid, name, dir)
		if another {
			for _, ns := range namespacesOf(pid) {
				anothers[ns] = true
			}
		}
		return another
	})
	namespaces = slices.DeleteFunc(slices.Clone(namespaces), func(ns string) bool { return anothers[ns] })
	var left []string
	for _, pid := range all {
		for _, ns := range namespacesOf(pid) {
			if slices.Contains(namespaces, ns) {
				left = append(left, fmt.Sprintf("namespace %s, held by process %d", ns, pid))
			}
		}
	}
	mounts := mountsOf(all, func(line string) bool {
		return slices.ContainsFunc(namespaces, func(ns string) bool { return strings.Contains(line, " "+ns+" ") })
	})
	return append(left, mounts...), nil
}

// mountsOf returns the lines that match of the processes' mountinfo, once for each
// mount namespace.
func mountsOf(pids []int, match func(line string) bool) []string {
	var left []string
	seen := make(map[string]bool)
	for _, pid := range pids {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
		if err != nil || seen[ns] {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			continue
		}
		seen[ns] = true
		for line := range strings.Lines(string(text)) {
			if match(line) {
				left = append(left, fmt.Sprintf("mount in %s of process %d: %s", ns, pid, strings.TrimSpace(line)))
			}
		}
	}
	return left
}
