package names

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// image gives h1 an image of the files, by their path in it.
func image(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for path, source := range files {
		b, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(path, "/"), Mode: 0o755, Size: int64(len(b))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := cluster.Host("h1").Command(t.Context(), "docker", "import", "-", name)
	cmd.Stdin = &out
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v: %s", err, text)
	}
	return name
}

// goImage has a static program with Go's resolver.
func goImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lookup")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/lookup")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return image(t, "go-lookup", map[string]string{"/bin/lookup": path})
}

// glibcImage has this machine's getent with its libraries.
func glibcImage(t *testing.T) string {
	t.Helper()
	getent, err := exec.LookPath("getent")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ldd", getent).Output()
	if err != nil {
		t.Fatal(err)
	}
	nsswitch := filepath.Join(t.TempDir(), "nsswitch.conf")
	if err := os.WriteFile(nsswitch, []byte("hosts: files dns\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"/bin/lookup": getent, "/etc/nsswitch.conf": nsswitch}
	for _, path := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
		files[path] = path
	}
	for _, pattern := range []string{"/lib/*/libnss_dns.so.2", "/lib/*/libnss_files.so.2", "/lib/*/libresolv.so.2"} {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			files[path] = path
		}
	}
	return image(t, "glibc-lookup", files)
}

func TestResolverLibraries(t *testing.T) {
	n := network(t, "libraries")
	world(t, func(w dns.ResponseWriter, m *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(m, dns.RcodeNameError)) })
	ip := start(t, "h2", "target", "--network", n, "--network-alias", "web").ip(n)
	for name, run := range map[string][]string{
		"go":      {goImage(t), "/bin/lookup"},
		"glibc":   {glibcImage(t), "/bin/lookup", "ahostsv4"},
		"busybox": {"busybox", "ping", "-c1"},
	} {
		for _, target := range []string{"target", "web", "TARGET", "target.libraries", "target."} {
			for _, search := range []string{".", "example.com"} {
				args := append([]string{"run", "--rm", "--network", n, "--dns-search", search}, run...)
				if out := docker(t, "h1", append(args, target)...); !strings.Contains(out, ip) {
					t.Errorf("%s: %s with search domain %s: %s", name, target, search, out)
				}
			}
		}
	}
}
