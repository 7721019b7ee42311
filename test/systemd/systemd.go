// Package systemd has a lab's hosts run by systemd, as real machines are: with
// weft's own unit, Debian's package manager, and a /usr and /var/lib to write to.
package systemd

import (
	"context"
	_ "embed" // the script that boots systemd
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/test/lab"
)

//go:embed boot.sh
var bootScript string

// patience is how long a boot or a shutdown may take.
const patience = 10 * time.Second

// Machine is a host of a lab that is run by systemd.
type Machine struct {
	*lab.Host
	boot  *exec.Cmd
	group string // name of its cgroup
	init  int    // systemd's process
}

// Boot starts systemd on the host, which takes dockerd over from the lab, and
// waits until its units are up. The lab's directory must not be below /var/lib,
// for the machine gets one of its own. Shut the machine down before the lab.
func Boot(ctx context.Context, h *lab.Host) (*Machine, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", h.PID(lab.Dockerd)))
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", h.Name(), err)
	}
	if err := h.Stop(ctx, lab.Dockerd); err != nil {
		return nil, err
	}
	dir := filepath.Join(h.Dir(), "machine")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("boot %s: %w", h.Name(), err)
	}
	m := &Machine{Host: h, group: "weft-" + filepath.Base(filepath.Dir(h.Dir())) + "-" + h.Name()}
	m.boot = h.Command(context.WithoutCancel(ctx), "sh", "-c", bootScript, "boot", dir, m.group,
		strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")))
	log, err := os.Create(filepath.Join(h.Dir(), "systemd.log"))
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", h.Name(), err)
	}
	defer log.Close()
	m.boot.Stdout, m.boot.Stderr = log, log
	if err := m.boot.Start(); err != nil {
		return nil, fmt.Errorf("boot %s: %w", h.Name(), err)
	}
	if err := within(ctx, func() error { return m.isUp(ctx) }); err != nil {
		said, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("systemd does not come up on %s: %w; it says:\n%s", h.Name(), err, said), m.ShutDown(ctx))
	}
	return m, nil
}

// isUp finds systemd, and asks it.
func (m *Machine) isUp(ctx context.Context) error {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.boot.Process.Pid))
	if err != nil {
		return err
	}
	if m.init, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
		return err
	}
	out, err := m.In(ctx, "systemctl", "is-system-running")
	if state := strings.TrimSpace(out); state != "running" && state != "degraded" {
		return fmt.Errorf("%s, %w", state, err)
	}
	return nil
}

// ShutDown ends systemd and with it everything that it runs.
func (m *Machine) ShutDown(ctx context.Context) error {
	_ = m.boot.Process.Kill()
	_ = m.boot.Wait() // it was killed
	return within(ctx, func() error { return removeCgroups(m.group) })
}

// removeCgroups removes the cgroups of that name once nothing is in them.
func removeCgroups(name string) error {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"} {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if err := os.Remove(dir); err != nil {
				return fmt.Errorf("empty the cgroup %s: %w", name, err)
			}
		}
	}
	return nil
}

// Inside returns a command that will run among the machine's processes, as a
// login's on it would.
func (m *Machine) Inside(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(m.init), "-p", "-m", "-n", "-u", "--"}, argv...)...)
}

// In runs a command among the machine's processes and returns all that it wrote.
func (m *Machine) In(ctx context.Context, argv ...string) (string, error) {
	out, err := m.Inside(ctx, argv...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s$ %s: %w\n%s", m.Name(), strings.Join(argv, " "), err, out)
	}
	return string(out), err
}

// within tries f until it succeeds.
func within(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
