package main

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Where a kernel's modules are that tests of networks may ask for.
var moduleDirs = []string{
	"arch/x86/crypto", "crypto", "lib", "net", "fs/overlayfs",
	"drivers/net/dummy.ko", "drivers/net/veth.ko", "drivers/net/tun.ko", "drivers/net/vxlan", "drivers/net/bonding", "drivers/net/wireguard",
}

// modules takes a kernel's modules along, but those without, and a list of them for the
// guest: a line for each module, with its file and what it needs, and for each of its
// other names.
func (a *archive) modules(root string, without []string) error {
	var list strings.Builder
	missing := slices.Clone(without)
	for _, dir := range moduleDirs {
		err := filepath.WalkDir(filepath.Join(root, "kernel", dir), func(file string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(file, ".ko") {
				return err
			}
			m, err := readModule(file)
			if err != nil {
				return fmt.Errorf("read module %s: %w", file, err)
			}
			if i := slices.Index(missing, m.name); i >= 0 {
				missing = slices.Delete(missing, i, i+1)
			}
			if slices.Contains(without, m.name) {
				return nil
			}
			to := "/modules/" + filepath.Base(file)
			a.add(to, file)
			fmt.Fprintf(&list, "module %s %s %s\n", m.name, to, strings.Join(m.needs, " "))
			for _, alias := range m.aliases {
				fmt.Fprintf(&list, "alias %s %s\n", alias, m.name)
			}
			return nil
		})
		if err != nil && !os.IsNotExist(err) { // it may be built in
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this kernel has no module %s to leave out", strings.Join(missing, ", "))
	}
	a.write("/modules/list", list.String())
	return nil
}

// module is what a module says of itself.
type module struct {
	name    string
	needs   []string // other modules
	aliases []string // names by which the kernel asks for it
}

func readModule(file string) (m module, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return m, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return m, fmt.Errorf("it has no section .modinfo")
	}
	data, err := section.Data()
	if err != nil {
		return m, err
	}
	for word := range strings.SplitSeq(string(data), "\x00") {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "name":
			m.name = plain(value)
		case "depends":
			for need := range strings.SplitSeq(value, ",") {
				if need != "" {
					m.needs = append(m.needs, plain(need))
				}
			}
		case "alias":
			if !strings.ContainsAny(value, "*?[ ") { // those are for hardware
				m.aliases = append(m.aliases, plain(value))
			}
		}
	}
	return m, nil
}

// plain is a name as it is compared: for modules - and _ are the same.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }
