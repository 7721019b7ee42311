package install

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/systemd"
)

// host is a host of the lab that is run by systemd.
type host struct{ *systemd.Machine }

// boot starts systemd on the host, which takes dockerd over from the lab.
func boot(t *testing.T, h *lab.Host) host {
	t.Helper()
	m, err := systemd.Boot(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said, err := os.ReadFile(h.Path("/run/weft.log")); t.Failed() && err == nil {
			t.Logf("%s: weft says:\n%s", h.Name(), said)
		}
		if err := m.ShutDown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return host{m}
}

func (m host) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.In(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// since gives a time of a unit's, in µs since the machine was started.
func (m host) since(t *testing.T, unit, property string) int {
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
	var machines []host
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
		takesFastPath(t, m.must(t, "weft", "status"))
	})
	t.Run("the machine's shutdown and start", func(t *testing.T) {
		said := func(m host, what string) int {
			log, err := os.ReadFile(m.Path("/run/weft.log"))
			if err != nil {
				t.Fatal(err)
			}
			return strings.Count(string(log), what)
		}
		const down, told = "A host is down", "The other hosts know that this one goes down"
		if n := said(m, told); n > 0 {
			t.Errorf("%d restarts of weft alone were told as the machine's", n)
		}
		before := said(machines[1], down)
		m.must(t, "systemctl", "start", "--no-block", "shutdown.target")
		eventually(t, 30*time.Second, "weft ends", func() error {
			if state, _ := m.In(t.Context(), "systemctl", "is-active", "weft"); strings.TrimSpace(state) != "inactive" {
				return fmt.Errorf("it is %s", state)
			}
			return nil
		})
		began := time.Now()
		eventually(t, 4*time.Second, "h2 sends nothing to it any more", func() error { // 8 s without a word
			if said(machines[1], down) == before {
				return fmt.Errorf("its log does not say so")
			}
			return nil
		})
		t.Logf("h2 knew %s after weft's end", time.Since(began).Round(time.Millisecond))
		if n := said(m, told); n != 1 {
			t.Errorf("weft told the others %d times that it goes down", n)
		}
		m.must(t, "systemctl", "start", "weft", "docker")
		runs(t, a)
		pings(t, a, b)
		finds(t, a, b)
	})
	t.Run("removed under running containers", func(t *testing.T) {
		during(t, a, b, func() {
			out := m.must(t, "dpkg", "-r", "weft")
			for _, words := range []string{"keep their networks until they stop", "To have nothing left"} {
				if !strings.Contains(out, words) {
					t.Errorf("removal does not say %q:\n%s", words, out)
				}
			}
			time.Sleep(12 * time.Second) // a host that is gone is not sent to after 8 s
		})
		if state, _ := m.In(t.Context(), "systemctl", "is-active", "weft"); strings.TrimSpace(state) == "active" {
			t.Error("weft is still active")
		}
		m.must(t, "test", "-e", "/etc/weft/weft.env", "-a", "-d", "/var/lib/weft")
		m.must(t, "dpkg", "-P", "weft")
		m.must(t, "test", "!", "-e", "/etc/weft", "-a", "!", "-e", "/var/lib/weft")
	})
}
