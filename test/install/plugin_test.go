package install

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/registry"
)

// rootfs is the directory that docker plugin create takes.
func rootfs(t *testing.T) string {
	t.Helper()
	return build(t, "rootfs", "plugin_"+runtime.GOARCH)
}

// installPlugin makes, sets and enables the plugin, which must be quick.
func installPlugin(t *testing.T, h *lab.Host, store string) {
	t.Helper()
	docker(t, h, "plugin", "create", plugin, rootfs(t))
	docker(t, h, "plugin", "set", plugin, "WEFT_STORE="+store, "WEFT_LOG_LEVEL=debug")
	began := time.Now()
	docker(t, h, "plugin", "enable", plugin)
	// Docker looks for the socket half a second after the start, and then every 3 s.
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("%s: enabling took %s: the plugin did not listen within half a second", h.Name(), took)
	}
}

// pluginPID is the plugin's process on this machine, 0 if there is none.
func pluginPID(t *testing.T, h *lab.Host) int {
	t.Helper()
	return processIn(t, docker(t, h, "plugin", "inspect", "-f", "{{.ID}}", plugin))
}

// processIn finds the weft in the cgroup of the plugin or container.
func processIn(t *testing.T, id string) int {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range groups {
		group, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(group, []byte(id)) {
			continue
		}
		if line, err := os.ReadFile(filepath.Dir(file) + "/cmdline"); err == nil && bytes.HasPrefix(line, []byte("/weft\x00serve")) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// The life of a managed plugin on two hosts, in the order in which it is lived.
func TestPlugin(t *testing.T) {
	l := up(t, lab.Config{Hosts: 2})
	h1, h2 := l.Host("h1"), l.Host("h2")
	rootfs(t)
	began := time.Now()
	for _, h := range l.Hosts() {
		installPlugin(t, h, storeURL(l))
	}
	network(t, l, plugin, "net")
	a, b := start(t, h1, "net", "a1", "--restart=always"), start(t, h2, "net", "b1")
	pings(t, a, b)
	finds(t, a, b)
	t.Logf("from two plain Docker hosts to two containers that reach each other: %s", time.Since(began).Round(10*time.Millisecond))
	if t.Failed() {
		t.FailNow()
	}
	newcomer := func(t *testing.T, name string) {
		t.Helper()
		c := start(t, h1, "net", name)
		pings(t, c, b)
		finds(t, c, b)
		docker(t, h1, "rm", "-f", name)
	}

	t.Run("asks for nothing it does not need", func(t *testing.T) {
		if got := docker(t, h1, "plugin", "inspect", "-f", "{{.Config.Linux.Capabilities}} {{.Config.PidHost}} {{.Config.IpcHost}} {{.Config.Linux.AllowAllDevices}}", plugin); got != "[CAP_NET_ADMIN CAP_SYS_ADMIN] false false false" {
			t.Errorf("it asks for %s", got)
		}
		// A bind source that is missing at boot would keep dockerd from starting.
		for source := range strings.FieldsSeq(docker(t, h1, "plugin", "inspect", "-f", "{{range .Config.Mounts}}{{.Source}} {{end}}", plugin)) {
			if source != "/var/run" && source != "/etc/ssl/certs" {
				t.Errorf("it mounts %s, which may be missing when Docker starts, or is more than it needs", source)
			}
		}
		etc := fmt.Sprintf("/proc/%d/root/host/etc/", pluginPID(t, h1))
		if found, err := filepath.Glob(etc + "*"); err != nil || !slices.Equal(found, []string{etc + "ssl", etc + "weft"}) {
			t.Errorf("of the host's /etc it sees %v (%v)", found, err)
		}
		if certs, err := filepath.Glob(etc + "ssl/certs/*"); err != nil || len(certs) == 0 {
			t.Errorf("it has no certificates of authorities (%v)", err)
		}
	})
	t.Run("has files of the user's", func(t *testing.T) {
		run(t, h1, "sh", "-c", "mkdir -p /etc/weft && echo no-secret >/etc/weft/token && ln -s ssl/certs /etc/linked") // Fedora's certificates are behind a link
		docker(t, h1, "plugin", "disable", "-f", plugin)
		docker(t, h1, "plugin", "set", plugin, "files.source=/etc/weft", "certs.source=/etc/linked", "CONSUL_HTTP_TOKEN_FILE=/host/etc/weft/token")
		docker(t, h1, "plugin", "enable", plugin)
		newcomer(t, "with-files")
		if token, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/host/etc/weft/token", pluginPID(t, h1))); err != nil || string(token) != "no-secret\n" {
			t.Errorf("it reads %q (%v)", token, err)
		}
		if certs, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/host/etc/ssl/certs/*", pluginPID(t, h1))); err != nil || len(certs) == 0 {
			t.Errorf("it has no certificates of authorities behind a link (%v)", err)
		}
	})
	t.Run("is seen by weft status on the host", func(t *testing.T) {
		out := run(t, h1, binary(t), "status")
		if !strings.Contains(out, "h1") {
			t.Errorf("status says %s", out)
		}
		takesFastPath(t, out)
		if hosts := run(t, h1, binary(t), "host", "ls"); !strings.Contains(hosts, "h2") {
			t.Errorf("the hosts are %s", hosts)
		}
	})
	t.Run("is killed", func(t *testing.T) {
		old := pluginPID(t, h1)
		during(t, a, b, func() {
			if err := unix.Kill(old, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			took := eventually(t, 5*time.Second, "Docker starts it again", func() error {
				if pid := pluginPID(t, h1); pid == 0 || pid == old {
					return fmt.Errorf("its process is %d, it was %d", pid, old)
				}
				return nil
			})
			t.Logf("back after %s", took.Round(time.Millisecond))
			// Docker 29 forgets the endpoints of starts under way at the moment
			// when it makes itself a new client of the plugin.
			time.Sleep(time.Second)
			newcomer(t, "after-kill")
		})
	})
	t.Run("is disabled under running containers", func(t *testing.T) {
		if out, err := h1.Docker(t.Context(), "plugin", "disable", plugin); err == nil {
			t.Errorf("Docker should say that it is in use, and says %q", out)
		}
		during(t, a, b, func() {
			docker(t, h1, "plugin", "disable", "-f", plugin)
			docker(t, h1, "plugin", "enable", plugin)
			newcomer(t, "after-disable")
			time.Sleep(time.Second)
		})
	})
	t.Run("is upgraded from a directory", func(t *testing.T) {
		docker(t, h1, "plugin", "disable", "-f", plugin)
		docker(t, h1, "plugin", "set", plugin, "WEFT_LOG_FORMAT=json") // which the next one has to keep
		docker(t, h1, "plugin", "enable", plugin)
		id := docker(t, h1, "plugin", "inspect", "-f", "{{.ID}}", plugin)
		script, err := filepath.Abs(root + "/deploy/plugin/upgrade.sh")
		if err != nil {
			t.Fatal(err)
		}
		during(t, a, b, func() {
			run(t, h1, script, plugin, another(t, "directory"))
			newcomer(t, "after-upgrade")
			time.Sleep(time.Second)
		})
		if now := docker(t, h1, "plugin", "inspect", "-f", "{{.ID}}", plugin); now == id {
			t.Error("it is the same plugin")
		}
		if env := docker(t, h1, "plugin", "inspect", "-f", "{{.Settings.Env}}", plugin); !strings.Contains(env, "WEFT_LOG_FORMAT=json") || !strings.Contains(env, "WEFT_STORE=consul") {
			t.Errorf("its settings are %s", env)
		}
		if mounts := docker(t, h1, "plugin", "inspect", "-f", "{{range .Config.Mounts}}{{.Name}}={{.Source}} {{end}}", plugin); !strings.Contains(mounts, "files=/etc/weft") {
			t.Errorf("its directories are %s", mounts)
		}
	})
	t.Run("is upgraded from a registry", func(t *testing.T) {
		registry.Serve(t, h1)
		const next = registry.Address + "/weft:next"
		docker(t, h1, "plugin", "create", next, another(t, "registry"))
		docker(t, h1, "plugin", "push", next)
		docker(t, h1, "plugin", "rm", next)
		during(t, a, b, func() {
			docker(t, h1, "plugin", "disable", "-f", plugin)
			docker(t, h1, "plugin", "upgrade", "--skip-remote-check", "--grant-all-permissions", plugin, next)
			docker(t, h1, "plugin", "set", plugin, "files.source=/etc/weft") // Docker keeps the variables only
			docker(t, h1, "plugin", "enable", plugin)
			newcomer(t, "after-registry")
			time.Sleep(time.Second)
		})
		if ref := docker(t, h1, "plugin", "inspect", "-f", "{{.PluginReference}}", plugin); ref != next {
			t.Errorf("it is %s", ref)
		}
	})
	t.Run("dockerd is restarted", func(t *testing.T) {
		if err := h1.Stop(t.Context(), lab.Dockerd); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := h1.Start(t.Context(), lab.Dockerd); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("Docker answered after %s", took)
		}
		runs(t, a)
		pings(t, a, b)
	})
	t.Run("the machine starts without Consul", func(t *testing.T) {
		if err := l.Consul(1).Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		reboot(t, h1)
		runs(t, a)
		pings(t, a, b)
		c := start(t, h1, "net", "without-consul")
		pings(t, c, b) // by address: h2 learns the name once Consul is back
		if err := l.Consul(1).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 15*time.Second, "h2 learns of it", func() error {
			_, err := h2.Docker(t.Context(), "exec", b.name, "ping", "-c1", "-W2", c.name)
			return err
		})
		eventually(t, 15*time.Second, "a network can be made again", func() error {
			_, err := h1.Docker(t.Context(), "network", "create", "-d", plugin, "--ipam-driver", plugin, "later")
			return err
		})
	})
	t.Run("is removed under running containers", func(t *testing.T) {
		during(t, a, b, func() {
			docker(t, h1, "plugin", "disable", "-f", plugin)
			docker(t, h1, "plugin", "rm", "-f", plugin)
			time.Sleep(2 * time.Second)
		})
	})
}

// another is a directory with another build of the plugin: Docker takes no two
// plugins with the same files.
func another(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "plugin")
	if err := os.CopyFS(dir, os.DirFS(rootfs(t))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rootfs/etc/build"), []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runs waits until Docker has started the container again.
func runs(t *testing.T, b box) {
	t.Helper()
	eventually(t, 15*time.Second, b.name+" runs again", func() error {
		if state := docker(t, b.host, "inspect", "-f", "{{.State.Running}} {{.State.Error}}", b.name); !strings.HasPrefix(state, "true") {
			return fmt.Errorf("it does not: %s", state)
		}
		return nil
	})
}

// reboot leaves of the host what a boot leaves, and starts Docker.
func reboot(t *testing.T, h *lab.Host) {
	t.Helper()
	if err := h.Stop(t.Context(), lab.Dockerd); err != nil {
		t.Fatal(err)
	}
	run(t, h, "sh", "-c", `
		grep -o ' /run/\(docker/\)\?netns[^ ]*' /proc/self/mountinfo | sort -r | xargs -r umount -l
		rm -rf /run/docker /run/netns /run/weft
		for link in $(ls /sys/class/net); do case $link in lo|eth0) ;; *) ip link del "$link" 2>/dev/null;; esac; done
		nft flush ruleset`)
	began := time.Now()
	if err := h.Start(t.Context(), lab.Dockerd); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Docker answered %s after the start", took)
	} else {
		t.Logf("Docker answered %s after the start", took.Round(10*time.Millisecond))
	}
}
