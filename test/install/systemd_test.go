package install

import (
	"context"
	_ "embed" // the script that boots systemd
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

//go:embed systemd.sh
var bootSystemd string

// machine is a host of the lab that is run by systemd.
type machine struct {
	*lab.Host
	init int // systemd's process
}

// boot starts systemd on the host, which takes dockerd over from the lab.
func boot(t *testing.T, h *lab.Host) machine {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", h.PID(lab.Dockerd)))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(t.Context(), lab.Dockerd); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(h.Dir(), "machine")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	group := "weft-" + filepath.Base(filepath.Dir(h.Dir())) + "-" + h.Name()
	cmd := h.Command(context.WithoutCancel(t.Context()), "sh", "-c", bootSystemd, "boot", dir, group,
		strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")))
	log, err := os.Create(filepath.Join(h.Dir(), "systemd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := machine{Host: h}
	t.Cleanup(func() {
		if said, err := os.ReadFile(h.Path("/run/weft.log")); t.Failed() && err == nil {
			t.Logf("%s: weft says:\n%s", h.Name(), said)
		}
		_ = cmd.Process.Kill() // and with it all that systemd runs
		_ = cmd.Wait()
		removeCgroups(t, group)
	})
	eventually(t, 10*time.Second, "systemd runs on "+h.Name(), func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		if err != nil {
			return err
		}
		if m.init, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			return err
		}
		out, err := m.in(t, "systemctl", "is-system-running")
		if state := strings.TrimSpace(out); state != "running" && state != "degraded" {
			return fmt.Errorf("%s, %w", state, err)
		}
		return nil
	})
	if t.Failed() {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("systemd says:\n%s", text)
	}
	return m
}

// removeCgroups removes the cgroups of that name once nothing is in them.
func removeCgroups(t *testing.T, name string) {
	t.Helper()
	eventually(t, 10*time.Second, "the cgroup "+name+" is empty", func() error {
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"} {
			var dirs []string
			_ = filepath.WalkDir(filepath.Join(root, name), func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for _, dir := range slices.Backward(dirs) {
				if err := os.Remove(dir); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// in runs a command among the host's processes, as a login on it would.
func (m machine) in(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nsenter", append([]string{"-t", strconv.Itoa(m.init), "-p", "-m", "-n", "-u", "--"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s$ %s: %w\n%s", m.Name(), strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (m machine) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.in(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// since gives a time of a unit's, in µs since the machine was started.
func (m machine) since(t *testing.T, unit, property string) int {
	t.Helper()
	us, err := strconv.Atoi(m.must(t, "systemctl", "show", "--value", "-p", property, unit))
	if err != nil {
		t.Fatal(err)
	}
	return us
}

// The life of the Debian package on two hosts run by systemd.
func TestPackageUnderSystemd(t *testing.T) {
	deb := build(t, "deb", "weft_*_"+runtime.GOARCH+".deb")
	// The hosts get a /var/lib of their own each, so the lab's files are elsewhere.
	l := up(t, lab.Config{Hosts: 2, Dir: "/var/tmp/weft-lab"})
	var machines []machine
	for _, h := range l.Hosts() {
		machines = append(machines, boot(t, h))
	}
	m := machines[0]
	h1, h2 := l.Host("h1"), l.Host("h2")
	began := time.Now()
	for _, m := range machines {
		m.must(t, "dpkg", "-i", deb)
		m.must(t, "sh", "-c", "echo WEFT_STORE="+storeURL(l)+" >>/etc/weft/weft.env")
		m.must(t, "systemctl", "restart", "weft")
		m.must(t, "systemctl", "start", "docker")
	}
	network(t, l, "weft", "net")
	a, b := start(t, h1, "net", "a1", "--restart=always"), start(t, h2, "net", "b1")
	pings(t, a, b)
	finds(t, a, b)
	t.Logf("from two plain Docker hosts to two containers that reach each other: %s", time.Since(began).Round(10*time.Millisecond))
	if t.Failed() {
		t.Log(m.must(t, "systemctl", "status", "weft"))
		t.FailNow()
	}
	newcomer := func(t *testing.T, name string) {
		t.Helper()
		c := start(t, h1, "net", name)
		pings(t, c, b)
		finds(t, c, b)
		docker(t, h1, "rm", "-f", name)
	}

	t.Run("Docker starts weft, and after it", func(t *testing.T) {
		m.must(t, "systemctl", "stop", "docker", "weft")
		m.must(t, "systemctl", "start", "docker")
		if state := m.must(t, "systemctl", "is-active", "weft"); state != "active" {
			t.Errorf("weft is %s", state)
		}
		listens, starts := m.since(t, "weft", "ActiveEnterTimestampMonotonic"), m.since(t, "docker", "ExecMainStartTimestampMonotonic")
		if listens > starts {
			t.Errorf("weft listened %d µs after Docker was started", listens-starts)
		}
		t.Logf("weft listened after %d µs", listens-m.since(t, "weft", "ExecMainStartTimestampMonotonic"))
		runs(t, a)
		pings(t, a, b)
	})
	t.Run("restarted, killed and upgraded under running containers", func(t *testing.T) {
		during(t, a, b, func() {
			m.must(t, "systemctl", "restart", "weft")
			newcomer(t, "after-restart")
			m.must(t, "systemctl", "kill", "-s", "KILL", "weft")
			newcomer(t, "after-kill")
			m.must(t, "dpkg", "-i", deb) // the same once more
			newcomer(t, "after-upgrade")
			time.Sleep(time.Second)
		})
		if env := m.must(t, "cat", "/etc/weft/weft.env"); !strings.Contains(env, "\nWEFT_STORE="+storeURL(l)) {
			t.Errorf("the upgrade changed the settings:\n%s", env)
		}
	})
	t.Run("Docker's restart", func(t *testing.T) {
		m.must(t, "systemctl", "restart", "docker")
		runs(t, a)
		pings(t, a, b)
	})
	t.Run("what it may do", func(t *testing.T) {
		pid := m.must(t, "systemctl", "show", "--value", "-p", "MainPID", "weft")
		status := m.must(t, "cat", "/proc/"+pid+"/status")
		for _, want := range []string{"CapBnd:\t0000000000201000", "NoNewPrivs:\t1", "Seccomp:\t2"} { // SYS_ADMIN and NET_ADMIN
			if !strings.Contains(status, want) {
				t.Errorf("%q is not in its status:\n%s", want, status)
			}
		}
	})
	t.Run("removed under running containers", func(t *testing.T) {
		during(t, a, b, func() {
			out := m.must(t, "dpkg", "-r", "weft")
			for _, words := range []string{"keep their networks until they stop", "To have nothing left"} {
				if !strings.Contains(out, words) {
					t.Errorf("removal does not say %q:\n%s", words, out)
				}
			}
			time.Sleep(2 * time.Second)
		})
		if state, _ := m.in(t, "systemctl", "is-active", "weft"); strings.TrimSpace(state) == "active" {
			t.Error("weft is still active")
		}
		m.must(t, "test", "-e", "/etc/weft/weft.env", "-a", "-d", "/var/lib/weft")
		m.must(t, "dpkg", "-P", "weft")
		m.must(t, "test", "!", "-e", "/etc/weft", "-a", "!", "-e", "/var/lib/weft")
	})
}
