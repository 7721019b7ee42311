package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The programs that Docker asks for, of which Debian has a second one for each of
// the kernel's two tables of rules.
var iptables = []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"}

// variant is the program that writes one of the two, such as ip6tables-legacy-save.
func variant(program, kind string) string {
	base, rest, dashed := strings.Cut(program, "-")
	if dashed {
		return base + "-" + kind + "-" + rest
	}
	return base + "-" + kind
}

func (s settings) checkIptables() error {
	switch s.Iptables {
	case "":
		return nil
	case "legacy", "nft":
	default:
		return refuse("cannot give hosts iptables %q: there are legacy and nft", s.Iptables)
	}
	if _, err := exec.LookPath(variant("iptables", s.Iptables)); err != nil {
		return refuse("cannot give hosts iptables %s: %s is not in PATH; install iptables", s.Iptables, variant("iptables", s.Iptables))
	}
	return nil
}

// iptablesDir comes first in PATH of a lab whose kind of iptables was chosen.
func (l *Lab) iptablesDir() string { return filepath.Join(l.dir, "iptables") }

// linkIptables makes the programs there, as a host finds them.
func (l *Lab) linkIptables() error {
	if l.settings.Iptables == "" {
		return nil
	}
	if err := os.Mkdir(l.iptablesDir(), 0o755); err != nil {
		return fmt.Errorf("choose iptables: %w", err)
	}
	for _, program := range iptables {
		// Where Debian has them, of whatever age a host's files are.
		if err := os.Symlink("/usr/sbin/"+variant(program, l.settings.Iptables), filepath.Join(l.iptablesDir(), program)); err != nil {
			return fmt.Errorf("choose iptables: %w", err)
		}
	}
	return nil
}
