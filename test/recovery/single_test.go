package recovery

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// The store of a host that is alone may be damaged like its state, and comes
// back from that. With both gone the network comes back from Docker and the
// kernel, and the log says so.
func TestDamagedStoreOfASingleHost(t *testing.T) {
	dir := t.TempDir()
	h1 := alone(t, "single", "bolt://"+filepath.Join(dir, "weft.db"))
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
		eventually(t, 20*time.Second, "a new container reaches one that runs", func() error {
			_, err := h1.Docker(t.Context(), "run", "--rm", "--network", "n", "busybox", "ping", "-c1", "-W2", b.ip)
			return err
		})
	}
	if logged(t, "h1", "Nobody had a record of a network any more") == 0 {
		t.Error("the log does not say that the network was lost")
	}
}
