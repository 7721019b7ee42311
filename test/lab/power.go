package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// PowerOff takes the host's power away: every process of it is killed at once,
// those of its containers too, and with them go its namespaces, so its links,
// rules, mounts and what was in /run. What is on its disk stays.
func (h *Host) PowerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if h.holder().pid == 0 {
		return nil
	}
	group := cgroup(h.lab.Name(), h.lab.dir) + "/" + h.name
	err := until(ctx, func() error {
		found, err := findMarked(func(pid int) bool {
			return carries(pid, mark, h.lab.dir) && carries(pid, memberMark, h.name) || inCgroup(pid, group)
		})
		if err != nil {
			return final{err}
		}
		for _, p := range found.processes {
			if err := p.signal(unix.SIGKILL); err != nil {
				return final{err}
			}
		}
		if n := len(found.processes); n > 0 {
			return fmt.Errorf("%d processes do not end, the first is %d", n, found.processes[0].pid)
		}
		// One that is about to end has no environment any more, nor a cgroup.
		files, err := filepath.Glob(filepath.Join(h.Dir(), "*.pid"))
		for _, file := range files {
			if p := loadProcess(file); p.alive() {
				return fmt.Errorf("process %d does not end", p.pid)
			}
		}
		return err
	})
	if err == nil {
		err = until(ctx, func() error { return removeCgroups(group) })
	}
	if err != nil {
		return fmt.Errorf("power %s off: %w", h.name, err)
	}
	return nil
}

// PowerOn gives a host that was powered off new namespaces, joined to the
// underlay, with what was on its disk. None of its services runs yet. A cut
// from other members has to be made again.
func (h *Host) PowerOn(ctx context.Context) error {
	if h.holder().pid != 0 {
		return refuse("%s is on", h.name)
	}
	if err := h.hold(ctx); err != nil {
		return err
	}
	// The kernel takes the old end of the wire away when it comes to it.
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := until(waiting, func() error {
		if _, err := h.lab.sw.run(waiting, nil, "ls", filepath.Join("/proc/self/net/dev_snmp6", h.name)); err == nil {
			return fmt.Errorf("its old link is still there")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("join %s to the underlay: %w", h.name, err)
	}
	if err := h.lab.plugIn(ctx, &h.member); err != nil {
		return err
	}
	return h.address(ctx)
}
