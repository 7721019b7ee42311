// Package policy gives tests the Consul policies that the documentation has for hosts
// with a token each, as it has them, and judges keys by them.
package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Host is the policy of the host.
func Host(tb testing.TB, name string) string {
	tb.Helper()
	return strings.ReplaceAll(block(tb, "host.hcl"), "HOST", name)
}

// Reaper is what hosts have beside that which free what dead hosts had.
func Reaper(tb testing.TB) string {
	tb.Helper()
	return block(tb, "reaper.hcl")
}

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	variable = regexp.MustCompile(`[A-Z]+`)
	rule     = regexp.MustCompile(`(?m)^(key|key_prefix) +"weft/([^"]*)" +{ policy = "(read|write)" }$`)
)

// Documented are the forms of all keys that weft writes, with HOST as the host's name.
func Documented(tb testing.TB, host string) []*regexp.Regexp {
	tb.Helper()
	_, table, found := strings.Cut(document(tb), "| key below `weft/` |")
	table, _, ends := strings.Cut(table, "\n\n")
	if !found || !ends {
		tb.Fatal("docs/operations.md has no table of keys")
	}
	var out []*regexp.Regexp
	for _, row := range strings.Split(table, "\n")[2:] {
		for _, span := range quoted.FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
			form := regexp.QuoteMeta(strings.ReplaceAll(span[1], "HOST", host))
			out = append(out, regexp.MustCompile("^"+variable.ReplaceAllString(form, "[^/]+")+"$"))
		}
	}
	return out
}

// Writes says whether the rules give the right to write a key, without weft's prefix:
// as in Consul that for the key itself goes first, then that for the longest prefix.
func Writes(rules, key string) bool {
	longest, writes := -1, false
	for _, r := range rule.FindAllStringSubmatch(rules, -1) {
		kind, of, right := r[1], r[2], r[3] == "write"
		if kind == "key" && of == key {
			return right
		}
		if kind == "key_prefix" && strings.HasPrefix(key, of) && len(of) > longest {
			longest, writes = len(of), right
		}
	}
	return writes
}

// block is what the document has written to a file.
func block(tb testing.TB, file string) string {
	tb.Helper()
	_, text, found := strings.Cut(document(tb), "# cat >"+file+" <<'END'\n")
	text, _, ends := strings.Cut(text, "> END\n")
	if !found || !ends {
		tb.Fatalf("docs/operations.md writes no %s", file)
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.TrimPrefix(line, "> "))
	}
	return out.String()
}

func document(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "docs", "operations.md"))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
