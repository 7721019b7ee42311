package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// archive is what the kernel finds in its first file system, by absolute path.
type archive struct {
	files map[string]source
}

// source is a file of this machine, or text.
type source struct {
	file string // "": text
	text string
}

func newArchive() *archive { return &archive{files: map[string]source{}} }

func (a *archive) add(to, file string)   { a.files[to] = source{file: file} }
func (a *archive) write(to, text string) { a.files[to] = source{text: text} }

// pack writes the archive in the form that the kernel takes, cpio's "newc" (the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst).
func (a *archive) pack(w io.Writer) error {
	p := &packer{w: w}
	for _, dir := range a.directories() {
		p.entry(dir, unix.S_IFDIR|0o755, nil)
	}
	for _, name := range slices.Sorted(maps.Keys(a.files)) {
		s := a.files[name]
		content := []byte(s.text)
		if s.file != "" {
			b, err := os.ReadFile(s.file)
			if err != nil {
				return fmt.Errorf("take a file along: %w", err)
			}
			content = b
		}
		p.entry(name, unix.S_IFREG|0o755, content)
	}
	p.entry("TRAILER!!!", 0, nil)
	return p.err
}

// directories are those of the files, parents first.
func (a *archive) directories() []string {
	seen := map[string]bool{}
	for name := range a.files {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			seen[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

type packer struct {
	w     io.Writer
	inode int
	err   error
}

func (p *packer) entry(name string, mode uint32, content []byte) {
	p.inode++
	name = strings.TrimPrefix(name, "/") + "\x00"
	var head strings.Builder
	head.WriteString("070701")
	for _, v := range []int{p.inode, int(mode), 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0} {
		fmt.Fprintf(&head, "%08x", v)
	}
	p.padded([]byte(head.String() + name))
	p.padded(content)
}

// padded writes b up to the next multiple of four; all before it ends at one.
func (p *packer) padded(b []byte) {
	for _, part := range [][]byte{b, make([]byte, -len(b)&3)} {
		if p.err == nil {
			_, p.err = p.w.Write(part)
		}
	}
}
