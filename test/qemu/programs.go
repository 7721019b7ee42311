package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programs are what tests call, of this machine.
var programs = []string{"sh", "sysctl", "ip", "tc", "bridge", "nft", "ping", "nsenter", "setpriv", "cat", "ls", "sleep", "uname", "mount", "umount"}

// programs takes programs of this machine along, each with its libraries.
func (a *archive) programs() error {
	for _, name := range programs {
		if err := a.program(name); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) program(name string) error {
	file, err := exec.LookPath(name)
	if err != nil { // what make deps brings
		return fmt.Errorf("%w: run 'sudo make deps'", err)
	}
	a.add("/bin/"+name, file)
	return a.libraries(file)
}

// libraries takes along what a program or library is linked with, and its interpreter.
func (a *archive) libraries(file string) error {
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("look what %s is linked with: %w", file, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return err
		}
		loader := strings.TrimRight(string(b), "\x00")
		a.add(loader, loader)
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("look what %s is linked with: %w", file, err)
	}
	for _, name := range names {
		to := "/lib/" + name
		if _, seen := a.files[to]; seen {
			continue
		}
		from, err := library(name)
		if err != nil {
			return fmt.Errorf("%s is linked with %s: %w", file, name, err)
		}
		a.add(to, from)
		if err := a.libraries(from); err != nil {
			return err
		}
	}
	return nil
}

// library finds a library where Debian has it.
func library(name string) (string, error) {
	for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/usr/lib"} {
		if at := filepath.Join(dir, name); readable(at) {
			return at, nil
		}
	}
	return "", fmt.Errorf("it is in none of the usual places: %w", os.ErrNotExist)
}

func readable(file string) bool {
	f, err := os.Open(file)
	if err == nil {
		f.Close()
	}
	return err == nil
}
