package names

import (
	"archive/tar"
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/weft-net/weft/test/lab/labtest"
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

// muslImage has a static program with musl's resolver.
func muslImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lookup")
	if out, err := exec.Command("musl-gcc", "-static", "-Os", "-Wall", "-o", path, "testdata/musl/lookup.c").CombinedOutput(); err != nil {
		t.Fatalf("build (Debian's musl-tools has musl-gcc): %v: %s", err, out)
	}
	return image(t, "musl-lookup", map[string]string{"/bin/lookup": path})
}

// library starts a container on h1 that idles, whatever is in its image.
func library(t *testing.T, name, image string, args ...string) labtest.Box {
	t.Helper()
	busybox, err := exec.LookPath("busybox") // static, or there was no lab
	if err != nil {
		t.Fatal(err)
	}
	b := labtest.Box{TB: t, Host: cluster.Host("h1"), Name: name}
	t.Cleanup(b.Remove)
	docker(t, "h1", slices.Concat([]string{"run", "-d", "--name", name, "-v", busybox + ":/busybox:ro", "--entrypoint", "/busybox"}, args, []string{image, "sleep", "100000"})...)
	return b
}

func TestResolverLibraries(t *testing.T) {
	n := network(t, "libraries")
	world(t, func(w dns.ResponseWriter, m *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(m, dns.RcodeNameError)) })
	ip := start(t, "h2", "target", "--network", n, "--network-alias", "web").ip(n)
	for name, run := range map[string][]string{
		"go":      {goImage(t), "/bin/lookup"},
		"glibc":   {glibcImage(t), "/bin/lookup", "ahostsv4"},
		"musl":    {muslImage(t), "/bin/lookup", "-4"},
		"busybox": {"busybox", "ping", "-c1"},
	} {
		for _, search := range []string{".", "example.com"} {
			b := library(t, name+"-"+strings.Trim(search, "."), run[0], "--network", n, "--dns-search", search)
			for _, target := range []string{"target", "web", "TARGET", "target.libraries", "target."} {
				if out, err := b.Run(slices.Concat(run[1:], []string{target})...); err != nil || !strings.Contains(out, ip) {
					t.Errorf("%s: %s with search domain %s: %v: %s", name, target, search, err, out)
				}
			}
		}
	}
}

// The C libraries ask for both families at once, or for one, and backwards.
func TestResolverLibrariesOnADualStackNetwork(t *testing.T) {
	n := network(t, "families", "--ipv6")
	world(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch header := (dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 300}); {
		case !strings.HasPrefix(strings.ToLower(header.Name), "www."):
			m.Rcode = dns.RcodeNameError
		case header.Rrtype == dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: header, A: net.IPv4(192, 0, 2, 1)}}
		case header.Rrtype == dns.TypeAAAA:
			m.Answer = []dns.RR{&dns.AAAA{Hdr: header, AAAA: net.ParseIP("2001:db8::1")}}
		}
		_ = w.WriteMsg(m)
	})
	far := start(t, "h2", "target", "--network", n, "--network-alias", "web")
	ip, ip6 := far.ip(n), docker(t, "h2", "inspect", "-f", "{{.NetworkSettings.Networks.families.GlobalIPv6Address}}", "target")
	for name, c := range map[string]struct {
		image         string
		any, v6, back []string
	}{
		"glibc": {glibcImage(t), []string{"ahosts"}, []string{"ahostsv6"}, []string{"hosts"}},
		"musl":  {muslImage(t), nil, []string{"-6"}, []string{"-x"}},
	} {
		b := library(t, name, c.image, "--network", n)
		look := func(args ...string) (string, error) { return b.Run(slices.Concat([]string{"/bin/lookup"}, args)...) }
		check := func(how []string, target string, want ...string) {
			t.Helper()
			out, err := look(slices.Concat(how, []string{target})...)
			if err != nil {
				t.Errorf("%s: %s: %v: %s", name, target, err, out)
			}
			for _, w := range want {
				if !slices.Contains(strings.Fields(out), w) {
					t.Errorf("%s: %q lacks %s: %s", name, slices.Concat(how, []string{target}), w, out)
				}
			}
		}
		for _, target := range []string{"target", "web", "target.families"} {
			check(c.any, target, ip, ip6)
			check(c.v6, target, ip6)
		}
		check(c.back, ip, "target.families")
		check(c.back, ip6, "target.families")
		check(c.any, "www.example.com", "192.0.2.1", "2001:db8::1")
		for _, target := range []string{"nobody", "nobody.example.com", "nobody.families"} {
			if out, err := look(slices.Concat(c.any, []string{target})...); err == nil {
				t.Errorf("%s: %s is found: %s", name, target, out)
			}
		}
	}
}
