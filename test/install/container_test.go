package install

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// file is the path of one of the checkout's files, valid on the lab's hosts.
func file(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// The container beside dockerd, on two hosts whose dockerds keep containers
// running while they are away themselves, without which this way is of little use.
func TestContainer(t *testing.T) {
	context := build(t, "image-context", "image_"+runtime.GOARCH)
	l := up(t, lab.Config{Hosts: 2, DockerdArgs: []string{"--live-restore"}})
	h1, h2 := l.Host("h1"), l.Host("h2")
	// Below /run every host has its own.
	own, err := os.ReadFile(file(t, "deploy/container/compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	path, env := filepath.Join(t.TempDir(), "compose.yaml"), []string{"WEFT_STORE=" + storeURL(l)}
	if err := os.WriteFile(path, bytes.ReplaceAll(own, []byte("/var/lib/weft:"), []byte("/run/state:")), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, h := range l.Hosts() {
		run(t, h, "env", "DOCKER_BUILDKIT=0", "docker", "build", "-q", "-t", "weft:latest", "-f", file(t, "Dockerfile"), context)
		run(t, h, "mkdir", "-p", "/run/state")
		old.compose(t, h, env, path, "up", "-d")
	}
	network(t, l, "weft", "net")
	a, b := start(t, h1, "net", "a1"), start(t, h2, "net", "b1")
	pings(t, a, b)
	finds(t, a, b)
	t.Logf("from two plain Docker hosts to two containers that reach each other: %s", time.Since(began).Round(10*time.Millisecond))
	if t.Failed() {
		t.Log(docker(t, h1, "logs", "weft"))
		t.FailNow()
	}
	takesFastPath(t, docker(t, h1, "exec", "weft", "/weft", "status"))
	newcomer := func(name string) {
		t.Helper()
		c := start(t, h1, "net", name)
		pings(t, c, b)
		finds(t, c, b)
		docker(t, h1, "rm", "-f", name)
	}
	for _, tt := range []struct {
		name string
		f    func(t *testing.T)
	}{
		{"killed", func(t *testing.T) {
			pid := processIn(t, docker(t, h1, "inspect", "-f", "{{.Id}}", "weft"))
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}},
		{"made anew", func(t *testing.T) {
			docker(t, h1, "rm", "-f", "weft")
			old.compose(t, h1, env, path, "up", "-d")
		}},
		{"dockerd restarted", func(t *testing.T) {
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
		}},
		{"removed", func(t *testing.T) { docker(t, h1, "rm", "-f", "weft") }},
	} {
		t.Run(tt.name+" under running containers", func(t *testing.T) {
			during(t, a, b, func() {
				tt.f(t)
				if tt.name != "removed" {
					newcomer(fmt.Sprintf("c%d", time.Now().UnixNano()))
				}
				time.Sleep(time.Second)
			})
		})
	}
}
