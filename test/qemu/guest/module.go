package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// catalogue is what /modules/list says.
type catalogue struct {
	files   map[string]string
	needs   map[string][]string
	aliases map[string]string
}

// load loads the module that the kernel calls by that name, and what it needs.
func load(name string) error {
	b, err := os.ReadFile("/modules/list")
	if err != nil {
		return err
	}
	c := catalogue{map[string]string{}, map[string][]string{}, map[string]string{}}
	for line := range strings.Lines(string(b)) {
		switch words := strings.Fields(line); words[0] {
		case "module":
			c.files[words[1]], c.needs[words[1]] = words[2], words[3:]
		case "alias":
			c.aliases[words[1]] = words[2]
		}
	}
	name = strings.ReplaceAll(name, "-", "_")
	if c.files[name] == "" {
		name = c.aliases[name]
	}
	return c.load(name)
}

func (c catalogue) load(name string) error {
	if c.files[name] == "" {
		return fmt.Errorf("there is no module %q", name)
	}
	for _, need := range c.needs[name] {
		if err := c.load(need); err != nil {
			return err
		}
	}
	f, err := os.Open(c.files[name])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", name, err)
	}
	return nil
}
