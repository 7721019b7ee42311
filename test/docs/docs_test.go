package docs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// cluster are the documents that are played one after another on the hosts of
// the guide.
var cluster = []string{"docs/guide.md", "README.md", "docs/operations.md", "docs/metrics.md", "docs/troubleshooting.md", "docs/migration.md", "deploy/README.md"}

// The guide, from three plain Docker hosts to a network, with Consul behind TLS
// and ACLs and a firewall that drops what the guide does not name; then what the
// other documents say of such a cluster.
func TestACluster(t *testing.T) {
	s := up(t, lab.Config{Hosts: 3})
	s.boot(t)
	s.open(t, "/run/home")
	for _, file := range cluster {
		if !t.Run(file, func(t *testing.T) {
			if prepare := before[file]; prepare != nil {
				began := time.Now()
				prepare(t, s)
				t.Logf("%4.1f s: before it", time.Since(began).Seconds())
			}
			s.play(t, file)
		}) {
			t.FailNow()
		}
	}
}

// What cannot be played is in the list of exceptions, and nothing else is there.
func TestEveryCommandIsRunOrExcepted(t *testing.T) {
	used := map[*exception]bool{}
	for _, file := range files(t) {
		for _, c := range read(t, file).commands {
			e := exceptionFor(c)
			if e == nil {
				if !slices.Contains(cluster, file) {
					t.Errorf("%s: no test plays this document: add it to cluster, or the command to the exceptions", c)
				}
				continue
			}
			used[e] = true
			if !slices.Contains(cluster, file) && e.check != nil {
				e.check(t, nil, c)
			}
		}
	}
	for i, e := range exceptions {
		if !used[&exceptions[i]] {
			t.Errorf("no document has the exception %q any more", e.text)
		}
		if e.why == "" {
			t.Errorf("the exception %q has no reason", e.text)
		}
	}
}

// Commands in the middle of a sentence exist, as do their flags.
func TestCommandsInSentencesExist(t *testing.T) {
	seen := map[string]bool{}
	for _, file := range files(t) {
		for _, s := range read(t, file).spans {
			program, _, more := strings.Cut(s.text, " ")
			if seen[s.text] || !more || !slices.Contains([]string{"make", "weft", "bin/weft-lab", "docker"}, program) {
				continue
			}
			seen[s.text] = true
			if err := knows(t.Context(), s.text); err != nil {
				t.Errorf("%s: `%s`: %v", s.file, s.text, err)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d commands were found: this test looks for the wrong thing", len(seen))
	}
}

// Sentences that a user may look for are in the program word for word, but for
// the names and numbers in them.
func TestSentencesAreTheProgramsOwn(t *testing.T) {
	var all strings.Builder
	for _, dir := range []string{"cmd/weft", "driver", "ipam", "kvstore"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				text, err := os.ReadFile(path)
				all.WriteString(strings.ReplaceAll(string(text), `\"`, `"`))
				return err
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	sentences := 0
	for _, title := range headings(t, "docs/troubleshooting.md") {
		// Two backticks on each side are around a sentence that has some itself.
		quoted := strings.Trim(title, "`")
		if !strings.HasPrefix(title, "`") || strings.HasPrefix(quoted, "Error response from daemon") {
			continue
		}
		sentences++
		for piece := range strings.SplitSeq(quoted, "…") {
			// What %q puts around a name is not in the source.
			if piece = strings.Trim(piece, `" `); len(piece) > 3 && !strings.Contains(all.String(), piece) {
				t.Errorf("weft never says %q", piece)
			}
		}
	}
	if sentences < 20 {
		t.Errorf("only %d sentences are explained", sentences)
	}
}

// headings lists the document's titles, as they are written.
func headings(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if title := strings.TrimLeft(line, "#"); title != line {
			out = append(out, strings.TrimSpace(title))
		}
	}
	return out
}
