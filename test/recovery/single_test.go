package recovery

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// The store of a host that is alone may be damaged like its state, and comes
// back from that. With both gone nobody knows the network any more: what runs in
// it goes on, nothing new starts in it, and the log says what to do.
func TestDamagedStoreOfASingleHost(t *testing.T) {
	dir := t.TempDir()
	one, err := lab.Up(t.Context(), lab.Config{
		Name: fmt.Sprintf("single-%d", os.Getpid()), Hosts: 1, WeftArgs: []string{"--store=bolt://" + filepath.Join(dir, "weft.db")},
	})
	if err != nil {
		t.Fatal(err)
	}
	many := cluster
	cluster = one
	t.Cleanup(func() {
		cluster = many
		if err := one.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	h1 := one.Host("h1")
	docker(t, "h1", "network", "create", "-d", "weft", "--ipam-driver", "weft", "n")
	a, b := container(t, "h1", "n", "a"), container(t, "h1", "n", "b")
	for _, both := range []bool{false, true} {
		stop := a.pings(b)
		if err := h1.Kill(t.Context(), lab.Weft); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "weft.db"), bytes.Repeat([]byte("x"), 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
		if both {
			if err := os.Remove(state("h1")); err != nil {
				t.Fatal(err)
			}
		}
		if err := h1.Start(t.Context(), lab.Weft); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if sent, lost := stop(); lost > 0 {
			t.Errorf("with both gone %t: of %d packets, %d were lost", both, sent, lost)
		}
		out, err := h1.Docker(t.Context(), "run", "--rm", "--network", "n", "busybox", "ping", "-c1", "-W2", b.ip)
		if both == (err == nil) {
			t.Errorf("with both gone %t, a new container ends with %v: %s", both, err, out)
		}
	}
	// Nobody knows the network any more, and weft says so; what runs in it, runs.
	eventually(t, 10*time.Second, "the log says what is lost", func() error {
		if logged(t, "h1", "weft has no record of it") == 0 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
}
