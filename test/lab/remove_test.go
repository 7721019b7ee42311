package lab_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

func TestWhatFailsLeavesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := unique("fails")
	_, err = lab.Up(t.Context(), lab.Config{Name: name, Hosts: 2, Weft: self, WeftArgs: []string{"--fail"}})
	if err == nil || !strings.Contains(err.Error(), "cannot start: asked to fail") {
		t.Errorf("Up with a weft that fails: %v; want the end of its log", err)
	}
	nothing(t, name)

	// A person who loses patience.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := lab.Up(ctx, lab.Config{Name: name, Hosts: 2, NoWeft: true}); err == nil {
		t.Error("Up succeeds although its context ended")
	}
	nothing(t, name)
}

func TestDamagedLabIsRemoved(t *testing.T) {
	t.Run("its processes killed", func(t *testing.T) {
		l := up(t, lab.Config{Name: "killed", Hosts: 1, NoWeft: true})
		docker(t, l.Host("h1"), "run", "-d", "busybox", "sleep", "1000")
		for _, file := range []string{"h1/holder.pid", "h1/dockerd.pid", "consul1/holder.pid", "switch/holder.pid"} {
			killByFile(t, filepath.Join(l.Dir(), file))
		}
		if _, err := l.Command(t.Context(), "h1", "true"); err == nil {
			t.Error("a host without namespaces takes commands")
		}
		if was, err := lab.Remove(t.Context(), l.Name(), ""); err != nil || !was {
			t.Errorf("Remove: %t, %v", was, err)
		}
		gone(t, l)
	})
	t.Run("its settings lost", func(t *testing.T) {
		l := up(t, lab.Config{Name: "lost", Hosts: 1, NoWeft: true})
		if err := os.Remove(filepath.Join(l.Dir(), "lab.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := lab.Open(l.Name(), ""); err == nil {
			t.Error("Open succeeds without settings")
		}
		if was, err := lab.Remove(t.Context(), l.Name(), ""); err != nil || !was {
			t.Errorf("Remove: %t, %v", was, err)
		}
		gone(t, l)
	})
	t.Run("its directory removed", func(t *testing.T) {
		l := up(t, lab.Config{Name: "bare", Hosts: 1, NoWeft: true})
		if out, err := exec.Command("rm", "-rf", l.Dir()).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if was, err := lab.Remove(t.Context(), l.Name(), ""); err != nil || !was {
			t.Errorf("Remove: %t, %v", was, err)
		}
		gone(t, l)
	})
	t.Run("it never was", func(t *testing.T) {
		if was, err := lab.Remove(t.Context(), unique("never"), ""); err != nil || was {
			t.Errorf("Remove: %t, %v", was, err)
		}
	})
}

// nothing checks that no lab of that name is found.
func nothing(t *testing.T, name string) {
	t.Helper()
	if was, err := lab.Remove(context.Background(), name, ""); err != nil || was {
		t.Errorf("something of %s was left: %t, %v", name, was, err)
	}
}

func killByFile(t *testing.T, path string) {
	t.Helper()
	var pid int
	if _, err := fmt.Sscan(read(t, path), &pid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// It is this process's child and gone once it has been reaped.
	for end := time.Now().Add(5 * time.Second); unix.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d does not end", pid)
		}
	}
}
