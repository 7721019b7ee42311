package lab

import (
	"cmp"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

const (
	// DefaultName is the name of a lab nobody named.
	DefaultName = "default"
	// DefaultDir is where labs keep their state directories.
	DefaultDir = "/var/lib/weft-lab"

	defaultHosts = 3
	// maxHosts is what fits between 198.51.100.11 and the end of the /24.
	maxHosts = 240
)

// InputError is a request a lab refuses because of what was asked, not because
// of what went wrong. Its text is one sentence for the user.
type InputError struct{ msg string }

// Error returns the sentence.
func (e *InputError) Error() string { return e.msg }

func refuse(format string, args ...any) error {
	return &InputError{msg: fmt.Sprintf(format, args...)}
}

// Config says what Up builds. The zero value is three hosts with weft and one
// Consul server, named "default".
type Config struct {
	// Name distinguishes labs on one machine: lower-case letters, digits and
	// dashes, at most 31.
	Name string
	// Dir is the directory below which the lab keeps Dir/Name. It must be on a
	// file system which overlayfs accepts as upper layer.
	Dir string
	// Hosts is the number of Docker hosts.
	Hosts int
	// Consuls is the number of Consul servers, 1 or 3.
	Consuls int
	// Dockerd is the path of the daemon. Its directory is searched first for
	// docker, containerd, runc and docker-proxy too. Empty means
	// $WEFT_DOCKERD, then dockerd beside this program or in PATH.
	Dockerd string
	// Docker lists versions, such as 20.10 and 29, for the hosts in turn: h1
	// gets the first, and after the last comes the first again. Such a host
	// has the whole Debian that carries its Docker; test/tools/install.sh
	// builds them, and $WEFT_DOCKERS may name the directory they are in. Empty
	// means $WEFT_DOCKER_VERSION, then Dockerd; not both may be set.
	Docker []string
	// Weft is the path of the weft binary. Empty means $WEFT_BIN, then weft
	// beside this program, in the checkout's bin, in PATH.
	Weft string
	// NoWeft makes plain Docker hosts.
	NoWeft bool
	// Iptables is what the hosts' iptables writes: legacy or nft. Empty means
	// what the machine's does.
	Iptables string
	// WeftArgs and DockerdArgs are appended to the command lines.
	WeftArgs, DockerdArgs []string
	// ConsulArgs are appended to the command line of each Consul server, Env to
	// the environment of everything that runs in the lab, as KEY=value.
	ConsulArgs, Env []string
	// Progress receives a line for each step; nil means silence.
	Progress io.Writer
}

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)

// resolved returns c with every default filled in, every path absolute and
// checked. Its errors are InputErrors.
func (c Config) resolved() (settings, error) {
	s := settings{
		Name: c.Name, Hosts: c.Hosts, Consuls: c.Consuls, Iptables: c.Iptables,
		WeftArgs: c.WeftArgs, DockerdArgs: c.DockerdArgs, ConsulArgs: c.ConsulArgs, Env: c.Env,
	}
	if s.Hosts == 0 {
		s.Hosts = defaultHosts
	}
	if s.Consuls == 0 {
		s.Consuls = 1
	}
	if s.Hosts < 1 || s.Hosts > maxHosts {
		return s, refuse("cannot make %d hosts: a lab has 1 to %d", s.Hosts, maxHosts)
	}
	if s.Consuls != 1 && s.Consuls != 3 {
		return s, refuse("cannot make %d Consul servers: a lab has 1 or 3", s.Consuls)
	}
	if os.Geteuid() != 0 {
		return s, refuse("cannot make a lab as user %d: namespaces and mounts need root", os.Geteuid())
	}
	for _, tool := range []string{"nsenter", "ip", "nft", "iptables", "mount", "sleep"} {
		if _, err := exec.LookPath(tool); err != nil {
			return s, refuse("cannot make a lab: %s is not in PATH; install util-linux, iproute2, nftables and iptables", tool)
		}
	}

	if err := s.checkIptables(); err != nil {
		return s, err
	}

	var err error
	if s.Engines, err = c.engines(); err != nil {
		return s, err
	}
	if s.Consul, err = program("consul", os.Getenv("WEFT_CONSUL"), ".cache/bin/consul"); err != nil {
		return s, err
	}
	if !c.NoWeft {
		if s.Weft, err = program("weft", cmp.Or(c.Weft, os.Getenv("WEFT_BIN")), "bin/weft"); err != nil {
			return s, err
		}
	}
	if s.Busybox, err = program("busybox", "/bin/busybox"); err != nil {
		return s, err
	}
	return s, mustBeStatic(s.Busybox)
}

// engines returns what the hosts run, in turn.
func (c Config) engines() ([]engine, error) {
	asked := c.Docker
	if len(asked) > 0 && c.Dockerd != "" {
		return nil, refuse("cannot use both %s and Docker %s: choose one", c.Dockerd, strings.Join(asked, ", "))
	}
	if len(asked) == 0 && c.Dockerd == "" {
		asked = versions(os.Getenv("WEFT_DOCKER_VERSION"))
	}
	if len(asked) > 0 {
		return engines(asked)
	}
	path, err := program("dockerd", cmp.Or(c.Dockerd, os.Getenv("WEFT_DOCKERD")))
	return []engine{{Dockerd: path}}, err
}

// directory returns the state directory of the lab called name below base.
func directory(name, base string) (labName, dir string, err error) {
	if name == "" {
		name = DefaultName
	}
	if base == "" {
		base = DefaultDir
	}
	if !validName.MatchString(name) {
		return "", "", refuse("%q is not a lab name: use lower-case letters, digits and dashes, at most 31", name)
	}
	if base, err = filepath.Abs(base); err != nil {
		return "", "", fmt.Errorf("find the directory %s: %w", base, err)
	}
	for _, hidden := range []string{"/run", "/var/run", "/etc", "/sys", "/proc"} {
		if base == hidden || strings.HasPrefix(base, hidden+"/") {
			return "", "", refuse("a lab cannot live in %s: every host has its own %s; choose another directory", base, hidden)
		}
	}
	return name, filepath.Join(base, name), nil
}

// program finds an executable: the path asked for and nothing else; or beside
// this program, or at one of the paths below the checkout this process runs
// in or was built in, or in PATH.
func program(name, asked string, inCheckout ...string) (string, error) {
	if asked != "" {
		path, err := exec.LookPath(asked)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return "", refuse("cannot use %s as %s: it is not an executable file", asked, name)
		}
		return path, nil
	}
	var candidates []string
	for _, root := range checkouts() {
		for _, path := range inCheckout {
			candidates = append(candidates, filepath.Join(root, path))
		}
	}
	if exe, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Join(filepath.Dir(exe), name))
	}
	for _, path := range append(candidates, name) {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", refuse("cannot make a lab: no %s (looked for %s, then in PATH)", name, strings.Join(candidates, ", "))
}

// checkouts returns the directories above the working directory and above this
// program which hold a go.mod.
func checkouts() []string {
	var starts, found []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				found = append(found, dir)
				break
			}
		}
	}
	return found
}

// mustBeStatic refuses a busybox which needs a dynamic loader: the image made
// from it has none.
func mustBeStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return refuse("cannot make an image from %s: %v", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return refuse("cannot make an image from %s: it is linked dynamically; install busybox-static (%s)", path, runtime.GOARCH)
		}
	}
	return nil
}
