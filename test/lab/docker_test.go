package lab_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weft-net/weft/test/lab"
)

// A host of another Docker has the files of another Debian. This machine's own
// stand in for them here, beside a file that is nowhere else.
func TestHostHasTheFilesOfItsDocker(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "docker-0.1", "root")
	for _, d := range []string{root, filepath.Join(root, "etc")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/usr", filepath.Join(root, "usr")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", "/etc/alternatives", "/etc/passwd", "/etc/group", filepath.Join(root, "etc")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(root, "etc", "only-here"), []byte("yes"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEFT_DOCKERS", dir)
	l := up(t, lab.Config{Name: "version", Hosts: 1, NoWeft: true, Docker: []string{"0.1"}})
	h := l.Host("h1")
	if got := h.DockerVersion(); got != "0.1" {
		t.Errorf("the host has Docker %s, want 0.1", got)
	}
	for file, want := range map[string]string{"/etc/only-here": "yes", "/etc/hostname": "h1"} {
		if got, err := h.Run(t.Context(), "cat", file); err != nil || got != want {
			t.Errorf("%s on the host: %q, %v; want %q", file, got, err, want)
		}
	}
	docker(t, h, "run", "--rm", "busybox", "true")
	if opened, err := lab.Open(l.Name(), ""); err != nil || opened.Host("h1").DockerVersion() != "0.1" {
		t.Errorf("the lab, opened again, has another Docker: %v", err)
	}
}
