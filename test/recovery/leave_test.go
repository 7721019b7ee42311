package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// A host that has left can be used as soon as it has joined again. One that is purged
// has nothing of weft's: it refuses as long as a container would lose its link, and
// then nothing is left in the kernel and on the disk, and nobody else's container
// notices.
func TestLeaving(t *testing.T) {
	store := filepath.Join(t.TempDir(), "weft.db")
	h1 := alone(t, "leaving", "bolt://"+store)
	docker(t, "h1", "network", "create", "-d", "weft", "--ipam-driver", "weft", "n")
	docker(t, "h1", "network", "create", "other")
	other := container(t, "h1", "other", "a")
	if out := sh(t, "h1", "weft leave"); !strings.Contains(out, state("h1")) || !strings.Contains(out, "in its Docker the networks n") {
		t.Errorf("leaving says %q", out)
	}
	if err := h1.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	a := container(t, "h1", "n", "a") // at once
	t.Logf("a container of the network runs %s after weft", time.Since(began).Round(time.Millisecond))
	b := container(t, "h1", "n", "b")
	if err := a.reaches(b); err != nil {
		t.Error(err)
	}

	if out, err := h1.Run(t.Context(), "weft", "leave", "--purge"); err == nil || !strings.Contains(err.Error()+out, `host "h1" has 2 containers attached`) {
		t.Errorf("with containers, purging gives %q, %v", out, err)
	}
	if err := a.reaches(b); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	if out := sh(t, "h1", "weft leave --purge --force"); !strings.Contains(out, "Nothing of weft's is left") {
		t.Errorf("purging says %q", out)
	}
	eventually(t, 10*time.Second, "the kernel has nothing of weft's", func() error {
		left := sh(t, "h1", `ls /run/netns | grep ^weft-; ls /sys/class/net | grep -E '^w[cp][0-9a-f]{8}'; nft list tables | grep weft; ls /run/docker/plugins; true`)
		if left != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
	for _, file := range []string{state("h1"), store} {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", file, err)
		}
	}
	docker(t, "h1", "exec", other.name, "ping", "-c1", "-W2", docker(t, "h1", "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "other"))
	if err := h1.Start(t.Context(), lab.Weft); err != nil { // for the cleanup of containers
		t.Fatal(err)
	}
}
