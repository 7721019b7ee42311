package recovery

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// The file system of weft's state may turn read-only under a weft that runs: no
// mount does that to a file that is open, but an error that ext4 finds in itself
// does. Containers and names go on, a start is refused in one sentence, and what is
// stopped or removed goes; once the file system is repaired nothing of it is left.
func TestReadOnly(t *testing.T) {
	n := network(t)
	a, b := container(t, "h1", n, "a"), container(t, "h2", n, "b")
	gone, stopped := container(t, "h1", n, "gone"), container(t, "h1", n, "stopped", "--stop-signal=KILL")
	h1 := cluster.Host("h1")
	image := filepath.Join(h1.Dir(), "disk")
	here := func(command string) { // the host may have another Debian
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	here(fmt.Sprintf("truncate --size=16M %[1]s && mkfs.ext4 -q %[1]s", image))
	mount := "mount -o loop,errors=remount-ro " + image
	dir := ownDisk(t, h1, mount)
	eventually(t, 5*time.Second, "names are told", func() error { return b.finds(stopped) })

	out, in := a.pings(b), b.pings(a)
	sh(t, "h1", fmt.Sprintf("echo 1 >/sys/fs/ext4/$(basename $(findmnt -n -o SOURCE %s))/trigger_fs_error", dir))
	began := time.Now()
	_, err := h1.Docker(t.Context(), "run", "--rm", "--network", n, "busybox", "true")
	if took := time.Since(began); err == nil || took > 3*time.Second {
		t.Errorf("after %s the answer to a container's start is %v", took, err)
	}
	refusal, _, _ := strings.Cut(fmt.Sprint(err), "\n") // what follows is the client's
	t.Log(refusal)
	for _, word := range []string{"state cannot be written", dir, "read-only file system"} {
		if !strings.Contains(refusal, word) {
			t.Errorf("the refusal does not say %q", word)
		}
	}
	docker(t, "h1", "stop", stopped.name)
	docker(t, "h1", "rm", "-f", gone.name)
	time.Sleep(5 * time.Second) // a pass later
	for _, pair := range [][2]box{{a, b}, {b, a}} {
		if err := pair[0].reaches(pair[1]); err != nil {
			t.Error(err)
		}
		if err := pair[0].finds(pair[1]); err != nil {
			t.Error(err)
		}
	}

	if err := h1.Stop(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	sh(t, "h1", "umount "+dir)
	here("e2fsck -p -f " + image + " || [ $? = 1 ]") // there is something to repair
	sh(t, "h1", mount+" "+dir)
	if err := h1.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	c := container(t, "h1", n, "c")
	if err := c.reaches(b); err != nil {
		t.Error(err)
	}
	docker(t, "h1", "start", stopped.name)
	stopped.ip = stopped.address()
	if err := stopped.reaches(b); err != nil {
		t.Error(err)
	}
	eventually(t, 20*time.Second, "nothing is left", func() error {
		for _, host := range []string{"h1", "h2"} {
			if containers(t, host)[gone.name] {
				return fmt.Errorf("%s knows %s", host, gone.name)
			}
		}
		if links := sh(t, "h1", "ls /sys/class/net | grep -E '^w[cp]' || true"); links != "" {
			return fmt.Errorf("links %s", links)
		}
		type on struct {
			Host  string
			Stock []string
		}
		for _, h := range weft[[]struct{ On []on }](t, "h1", "network", "inspect", n)[0].On {
			if h.Host == "h1" && !slices.Contains(h.Stock, gone.ip) {
				return fmt.Errorf("%s's address %s is not in stock: %s", gone.name, gone.ip, h.Stock)
			}
		}
		return b.finds(stopped)
	})
	for what, stop := range map[string]func() (int, int){"out of the host": out, "into the host": in} {
		if sent, lost := stop(); lost > 0 {
			t.Errorf("%s: of %d packets, %d were lost", what, sent, lost)
		}
	}
}
