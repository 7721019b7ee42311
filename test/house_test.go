package test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The root of the checkout, seen from this folder.
const root = ".."

// Lines that a Go file may have, tests excepted.
const maxLines = 500

// Methods that a type may have. One with more is asked about everything: divide it by idea,
// as driver/registry is.
const maxMethods = 60

// Names that say nothing about what a package is.
var vague = []string{"common", "helper", "helpers", "manager", "misc", "util", "utils"}

func TestEveryPackageHasOneDoc(t *testing.T) {
	docs := map[string][]string{} // files with a package doc, by folder
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		dir := filepath.Dir(file)
		if _, seen := docs[dir]; !seen {
			docs[dir] = nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		if parsed.Doc == nil {
			continue
		}
		docs[dir] = append(docs[dir], file)
		want := "Package " + parsed.Name.Name + " "
		if parsed.Name.Name == "main" {
			want = "Command " + filepath.Base(dir) + " "
		}
		if text := strings.ReplaceAll(parsed.Doc.Text(), "\n", " "); !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package doc begins with %.30q; begin it with %q", file, text, want)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(docs)) {
		switch n := len(docs[dir]); {
		case n == 0:
			t.Errorf("%s: no package doc; write in doc.go what the package is, in one good sentence", dir)
		case n > 1:
			t.Errorf("%s: %d package docs, in %s; keep one", dir, n, strings.Join(docs[dir], ", "))
		}
	}
}

func TestNoFileIsLong(t *testing.T) {
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		if n := bytes.Count(read(t, file), []byte("\n")); n > maxLines {
			t.Errorf("%s: %d lines, at most %d; a second noun in it wants a file of its own", file, n, maxLines)
		}
	}
}

func TestNoTypeKnowsEverything(t *testing.T) {
	method := regexp.MustCompile(`(?m)^func \(\w* ?\*?(\w+)(?:\[.*?\])?\) `)
	count := map[string]int{} // by folder and type
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "test/") {
			continue
		}
		for _, m := range method.FindAllSubmatch(read(t, file), -1) {
			count[filepath.Dir(file)+"."+string(m[1])]++
		}
	}
	if len(count) < 100 {
		t.Errorf("%d types with methods were found: methods are written otherwise than this test reads them", len(count))
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if n := count[name]; n > maxMethods {
			t.Errorf("%s has %d methods, and no type may have more than %d: give what is one idea a type of its own", name, n, maxMethods)
		}
	}
}

func TestNamesSayWhatIsInside(t *testing.T) {
	for _, file := range files(t, ".go") {
		if strings.Contains(filepath.Base(file), "-") {
			t.Errorf("%s: a hyphen in a Go file's name; use one word or an underscore", file)
		}
		for part := range strings.SplitSeq(filepath.ToSlash(filepath.Dir(file)), "/") {
			if slices.Contains(vague, part) {
				t.Errorf("%s: a package called %q says nothing; name it after the one idea in it", file, part)
			}
		}
		if name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".go"), "_test"); slices.Contains(vague, name) {
			t.Errorf("%s: a file called %q says nothing; name it after the noun in it", file, name)
		}
	}
}

// Links between the documents lead somewhere.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)`)
	for _, doc := range files(t, ".md") {
		for _, found := range link.FindAllSubmatch(read(t, doc), -1) {
			target := string(found[1])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(doc), target)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", doc, target)
			}
		}
	}
}

// test/docs plays what is in blocks, and must know what that is.
func TestBlocksOfDocumentsHaveALanguage(t *testing.T) {
	for _, doc := range files(t, ".md") {
		inside := false
		for i, line := range strings.Split(string(read(t, doc)), "\n") {
			if !strings.HasPrefix(line, "```") {
				continue
			}
			if !inside && line == "```" {
				t.Errorf("%s:%d: a block without a language: console for commands with a prompt like h1#, sh for those in a checkout, text for what is none (CONTRIBUTING.md, Documents)", doc, i+1)
			}
			inside = !inside
		}
	}
}

// files lists the checkout's files with the extension, from its root, without
// what git ignores.
func files(t *testing.T, ext string) []string {
	t.Helper()
	var out []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case !d.IsDir() && filepath.Ext(path) == ext:
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatalf("no %s file below %s: this test looks in the wrong place", ext, root)
	}
	return out
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
