package lab

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The kernel gives the number of a namespace that is gone to another lab, whose
// hosts keep namespaces without a process in mounts.
func TestANumberThatAnotherLabHasIsNoLeak(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ns")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-ec",
		`unshare --net sh -ec 'mount --bind /proc/self/ns/net "$0"; readlink /proc/self/ns/net' "$0"; exec sleep infinity`, file)
	cmd.Env = append(os.Environ(), mark+"="+dir)
	cmd.Stderr = os.Stderr
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	number := []string{strings.TrimSpace(line)}
	if left, err := heldNamespaces(number, "mine", dir+"-mine"); err != nil || len(left) > 0 {
		t.Errorf("another lab's namespace is taken for a leak: %q, %v", left, err)
	}
	if left, err := heldNamespaces(number, "its", dir); err != nil || len(left) != 1 {
		t.Errorf("a namespace that a lab's mount keeps is not found: %q, %v", left, err)
	}
}
