package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// root is the checkout, seen from here.
const root = "../.."

// here is where the commands of sh blocks run: in the checkout.
const here = ""

// command is one command of a document.
type command struct {
	file   string
	line   int
	where  string // a host's name, all, or here
	text   string
	prints []string // what the document shows below it
}

func (c command) String() string { return fmt.Sprintf("%s:%d: %s", c.file, c.line, c.text) }

// span is a command in the middle of a sentence.
type span struct {
	file string
	text string
}

// document is what one file says to run.
type document struct {
	commands []command
	spans    []span
}

// prose are the languages of blocks that have no commands.
var prose = []string{"text", "mermaid", "yaml", "hcl", "json"}

// prompt begins a command in a block of the language console.
var prompt = regexp.MustCompile(`^(h\d|all)[#$] (.*)$`)

// read parses one document, and complains of what it cannot tell apart.
func read(t *testing.T, file string) document {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	var d document
	tree := goldmark.New(goldmark.WithExtensions(extension.Table)).Parser().Parse(text.NewReader(source))
	err = ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.CodeBlock:
			t.Errorf("%s: an indented block has no language: fence it: %.40q", file, n.Lines().Value(source))
		case *ast.FencedCodeBlock:
			language := string(n.Language(source))
			var lines []string
			for i := range n.Lines().Len() {
				segment := n.Lines().At(i)
				lines = append(lines, strings.TrimRight(string(segment.Value(source)), "\n"))
			}
			first := 1
			if len(lines) > 0 {
				segment := n.Lines().At(0)
				first += strings.Count(string(source[:segment.Start]), "\n")
			}
			switch {
			case language == "console":
				d.commands = append(d.commands, console(t, file, first, lines)...)
			case language == "sh":
				d.commands = append(d.commands, script(file, first, lines)...)
			case !slices.Contains(prose, language):
				t.Errorf("%s:%d: a block of the language %q: say console, sh or one of %v, so that it is clear what is a command", file, first, language, prose)
			}
		case *ast.CodeSpan:
			var b strings.Builder
			for c := n.FirstChild(); c != nil; c = c.NextSibling() {
				if t, ok := c.(*ast.Text); ok {
					b.Write(t.Segment.Value(source))
				}
			}
			d.spans = append(d.spans, span{file, strings.Join(strings.Fields(b.String()), " ")})
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// console reads prompts, commands and what they print.
func console(t *testing.T, file string, first int, lines []string) []command {
	t.Helper()
	var out []command
	for i, line := range lines {
		more, goesOn := strings.CutPrefix(line, ">")
		switch found := prompt.FindStringSubmatch(line); {
		case found != nil:
			out = append(out, command{file: file, line: first + i, where: found[1], text: found[2]})
		case len(out) == 0:
			t.Errorf("%s:%d: %q comes before any prompt", file, first+i, line)
		case goesOn && (more == "" || more[0] == ' ') && len(out[len(out)-1].prints) == 0:
			out[len(out)-1].text += "\n" + strings.TrimPrefix(more, " ")
		default:
			out[len(out)-1].prints = append(out[len(out)-1].prints, line)
		}
	}
	for i := range out {
		if !strings.Contains(out[i].text, "\n") {
			out[i].text = uncommented(out[i].text)
		}
	}
	return out
}

// script reads commands without prompts.
func script(file string, first int, lines []string) []command {
	var out []command
	goesOn := false
	for i, line := range lines {
		line = uncommented(line)
		switch {
		case line == "":
		case goesOn:
			out[len(out)-1].text += "\n" + line
		default:
			out = append(out, command{file: file, line: first + i, text: line})
		}
		goesOn = strings.HasSuffix(line, `\`)
	}
	return out
}

// comment is what a document says beside a command.
var comment = regexp.MustCompile(`(^|\s+)# .*$`)

func uncommented(line string) string { return comment.ReplaceAllString(line, "") }

// files lists all documents.
func files(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"*.md", "docs/*.md", "deploy/*.md", "deploy/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, name)
		}
	}
	return out
}
