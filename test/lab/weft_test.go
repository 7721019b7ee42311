package lab_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// standIn is weft as far as a lab cares: it says what it was given and whether
// Docker was there first, and listens.
func standIn(args []string) int {
	fmt.Println("args", strings.Join(args, " "))
	if os.Getenv("WEFT_STANDIN") != "" {
		fmt.Println("the environment leaks into the lab")
	}
	if strings.Contains(strings.Join(args, " "), "--fail") {
		fmt.Println("cannot start: asked to fail")
		return 1
	}
	_, err := os.Stat("/run/docker.sock")
	fmt.Println("docker.sock first:", err == nil)
	const socket = "/run/docker/plugins/weft.sock"
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return 1
		}
		_ = conn.Close()
	}
}

func TestWeftStartsBeforeDocker(t *testing.T) {
	t.Setenv("WEFT_STANDIN", "seen")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Config{Name: "weft", Hosts: 1, Weft: self, WeftArgs: []string{"--log-level", "debug"}})
	h := l.Host("h1")
	first := "args --store consul://198.51.100.2:8500 --host h1 --advertise 198.51.100.11 --plugin-dir /run/docker/plugins" +
		" --docker unix:///run/docker.sock --state-dir " + filepath.Join(l.Dir(), "h1/weft") + " --log-level debug\n"
	if diff := cmp.Diff(first+"docker.sock first: false\n", read(t, h.Log(lab.Weft))); diff != "" {
		t.Errorf("weft's log (-want +got):\n%s", diff)
	}

	if err := h.Kill(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	if h.Running(lab.Weft) {
		t.Error("weft runs after Kill")
	}
	if err := h.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	if want := first + "docker.sock first: false\n" + first + "docker.sock first: true\n"; read(t, h.Log(lab.Weft)) != want {
		t.Errorf("weft's second run is not in its log:\n%s", read(t, h.Log(lab.Weft)))
	}
	// It may be started with other arguments, and with its own again.
	for _, more := range []string{" --store=bolt:///elsewhere", ""} {
		if err := h.Stop(t.Context(), lab.Weft); err != nil {
			t.Fatal(err)
		}
		h.WeftArgs(strings.Fields(more)...)
		if err := h.Start(t.Context(), lab.Weft); err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSuffix(first, "\n") + more + "\ndocker.sock first: true\n"
		if log := read(t, h.Log(lab.Weft)); !strings.HasSuffix(log, want) {
			t.Errorf("weft's log does not end with %q:\n%s", want, log)
		}
	}
	// A stopped process is still there, and goes on.
	pid := h.PID(lab.Weft)
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT} {
		if err := h.Signal(lab.Weft, sig); err != nil {
			t.Error(err)
		}
	}
	if h.PID(lab.Weft) != pid {
		t.Errorf("weft is process %d after a pause, was %d", h.PID(lab.Weft), pid)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
