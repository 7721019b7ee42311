package control

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheDaemonsProcess(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if pid := (Client{Socket: socket}).process(t.Context()); pid != os.Getpid() {
		t.Errorf("it is %d, not this one, %d", pid, os.Getpid())
	}
	if pid := (Client{Socket: socket + "s"}).process(t.Context()); pid != 0 {
		t.Errorf("where nobody listens it is %d", pid)
	}
}

func TestGoneWaitsForTheEndOfAProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "0.3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	began := time.Now()
	if err := gone(t.Context(), cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(unix.Kill(cmd.Process.Pid, 0), unix.ESRCH) {
		t.Error("the process is still there")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}
