package docs

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// word is what can be the name of a command.
var word = regexp.MustCompile(`^[a-z][a-z-]*$`)

// knows asks a program whether there is such a command, with such flags, without
// running it. A program that cannot be asked knows everything.
func knows(ctx context.Context, text string) error {
	words := strings.Fields(strings.ReplaceAll(text, "\\\n", " "))
	var program string
	switch words[0] {
	case "make":
		for _, w := range words[1:] {
			if !word.MatchString(w) {
				continue
			}
			if out, err := exec.CommandContext(ctx, "make", "-n", "-C", root, w).CombinedOutput(); err != nil {
				return fmt.Errorf("make has no %s: %w\n%s", w, err, out)
			}
		}
		return nil
	case "weft":
		program = cmp.Or(os.Getenv("WEFT_BIN"), filepath.Join(root, "bin/weft"))
	case "bin/weft-lab":
		program = filepath.Join(root, words[0])
	case "docker":
		if len(words) > 1 && words[1] == "compose" {
			return nil // a plugin of docker's, which need not be here
		}
		program = words[0]
	default:
		return nil
	}
	return helps(ctx, program, words[1:])
}

// helps looks for the command and its flags in the help of the program.
func helps(ctx context.Context, program string, words []string) error {
	var path []string
	help := ""
	for len(words) > 0 && word.MatchString(words[0]) {
		out, err := exec.CommandContext(ctx, program, append(append(slices.Clip(path), words[0]), "--help")...).CombinedOutput()
		// Of what it does not know Docker shows the help of all, and fails or not.
		usage := regexp.MustCompile(`(?m)\b` + strings.Join(append(slices.Clip(path), words[0]), " ") + `\b`)
		if err != nil || !usage.Match(out) {
			break
		}
		path, words, help = append(path, words[0]), words[1:], string(out)
	}
	if path == nil {
		return fmt.Errorf("%s has no command like %q", filepath.Base(program), words)
	}
	for _, w := range words {
		flag, _, _ := strings.Cut(w, "=")
		if w == "--" {
			break
		}
		if strings.HasPrefix(flag, "--") && !strings.Contains(help, flag) {
			return fmt.Errorf("%s has no %s", strings.Join(path, " "), flag)
		}
	}
	return nil
}
