package test

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// module begins the import path of each of weft's packages.
const module = "github.com/weft-net/weft/"

var (
	pictureNode  = regexp.MustCompile(`(?m)^\s*(\w+)\["([^"]+)"\]$`)
	pictureArrow = regexp.MustCompile(`(?m)^\s*(\w+) (-->|-\.->)(?:\|[^|]*\|)? (\w+)$`)
)

// The picture of the packages has each package, a solid arrow only where one imports
// the other, and a dotted one only where it does not.
func TestPackagePicture(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, picture, _ := bytes.Cut(text, []byte("```mermaid\nflowchart"))
	picture, _, _ = bytes.Cut(picture, []byte("```"))
	path := map[string]string{} // by name in the picture
	drawn := map[string]bool{}  // paths
	for _, m := range pictureNode.FindAllSubmatch(picture, -1) {
		path[string(m[1])] = string(m[2])
		drawn[string(m[2])] = true
	}
	imports := packageImports(t)
	arrows := 0
	for _, m := range pictureArrow.FindAllSubmatch(picture, -1) {
		from, to := path[string(m[1])], path[string(m[3])]
		if from == "" || to == "" {
			continue // one of the two is no package
		}
		arrows++
		if solid := string(m[2]) == "-->"; solid != imports[from][to] {
			t.Errorf("ARCHITECTURE.md draws %s %s %s, and it is %v that one imports the other: correct the arrow", from, m[2], to, imports[from][to])
		}
	}
	if arrows < len(drawn)/2 {
		t.Errorf("%d arrows were found between %d packages: the picture is written otherwise than this test reads it", arrows, len(drawn))
	}
	for dir := range imports {
		switch top, rest, _ := strings.Cut(dir, "/"); {
		case top != "driver" && top != "ipam" && top != "kvstore", dir == "kvstore/kvtest":
		case strings.Contains(rest, "/") || top == "ipam" && rest != "": // a room of a package
		case !drawn[dir]:
			t.Errorf("ARCHITECTURE.md has a picture of the packages without %s: draw it", dir)
		}
	}
	for dir := range drawn {
		if imports[dir] == nil {
			t.Errorf("ARCHITECTURE.md draws %s, which is no package", dir)
		}
	}
}

// packageImports are the packages of weft's that each of them imports, tests excepted.
func packageImports(t *testing.T) map[string]map[string]bool {
	t.Helper()
	out := map[string]map[string]bool{}
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(file))
		if out[dir] == nil {
			out[dir] = map[string]bool{}
		}
		for _, spec := range parsed.Imports {
			if name, err := strconv.Unquote(spec.Path.Value); err == nil && strings.HasPrefix(name, module) {
				out[dir][strings.TrimPrefix(name, module)] = true
			}
		}
	}
	return out
}
