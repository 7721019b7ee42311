package lab_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/test/lab"
)

func TestMain(m *testing.M) {
	// The labs of these tests run this very binary in weft's place.
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(standIn(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// unique names a lab after this process, so that runs do not meet.
func unique(name string) string { return fmt.Sprintf("test-%d-%s", os.Getpid(), name) }

func up(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	c.Name = unique(c.Name)
	began := time.Now()
	l, err := lab.Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: up in %v", c.Name, time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { down(t, l) })
	return l
}

// down removes the lab and checks that nothing is left.
func down(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	if err := l.Down(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("%s: down in %v", l.Name(), time.Since(began).Round(time.Millisecond))
	gone(t, l)
}

func gone(t *testing.T, l *lab.Lab) {
	t.Helper()
	left, err := l.Leaks(context.Background())
	if err != nil {
		t.Error(err)
	}
	if len(left) > 0 {
		t.Errorf("left of the lab:\n%s", strings.Join(left, "\n"))
	}
}

func docker(t *testing.T, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := h.Docker(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func links(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

func TestLabComesAndGoes(t *testing.T) {
	before := links(t)
	var said strings.Builder
	l := up(t, lab.Config{Name: "whole", Hosts: 2, NoWeft: true, Progress: &said})

	for i, h := range l.Hosts() {
		hostname, err := h.Run(t.Context(), "hostname")
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("h%d", i+1); hostname != want {
			t.Errorf("hostname is %q, want %q", hostname, want)
		}
		if out := docker(t, h, "info", "--format", "{{.Driver}} {{.Name}} {{.DockerRootDir}}"); !strings.HasPrefix(out, "overlay2 "+h.Name()+" "+l.Dir()) &&
			!strings.HasPrefix(out, "overlayfs "+h.Name()+" "+l.Dir()) {
			t.Errorf("%s: docker info says %q", h.Name(), out)
		}
	}
	// A container which outlives its daemon is the hardest to remove.
	docker(t, l.Host("h1"), "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	docker(t, l.Host("h1"), "exec", "box", "ping", "-c1", "-W5", l.Host("h2").Addr().String())
	if err := l.Host("h1").Kill(t.Context(), lab.Dockerd); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said.String(), "h2: Docker answers") {
		t.Errorf("progress does not tell of h2:\n%s", said.String())
	}

	down(t, l)
	if diff := cmp.Diff(before, links(t)); diff != "" {
		t.Errorf("the machine's links changed (-before +after):\n%s", diff)
	}
}

func TestLabsStandSideBySide(t *testing.T) {
	a := up(t, lab.Config{Name: "a", Hosts: 1, NoWeft: true})
	b := up(t, lab.Config{Name: "b", Hosts: 1, NoWeft: true})
	if a.Host("h1").Addr() != b.Host("h1").Addr() {
		t.Errorf("the labs' addresses differ: %s and %s", a.Host("h1").Addr(), b.Host("h1").Addr())
	}
	docker(t, a.Host("h1"), "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	docker(t, b.Host("h1"), "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	down(t, a)
	if out := docker(t, b.Host("h1"), "ps", "--format", "{{.Names}}"); out != "box" {
		t.Errorf("after the other lab's end docker ps says %q, want box", out)
	}
}
