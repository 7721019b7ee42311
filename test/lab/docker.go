package lab

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// engine is a Docker that a host can run: the machine's own, or one of another
// version with all the programs and libraries that it came with. Of such a one
// the directory docker-VERSION holds
//
//	root  a Debian of the age of that version, whose /usr and /etc the host gets
//	bin   what comes before that root's programs, if anything does
type engine struct {
	// Version is the one asked for, such as 28.5; empty for the machine's own.
	Version string `json:"version,omitempty"`
	// Dockerd is the path of the daemon, as the host sees it.
	Dockerd string `json:"dockerd"`
	// Root is the directory of the Debian; empty for the machine's files.
	Root string `json:"root,omitempty"`
}

var validVersion = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)

// versions splits a list as $WEFT_DOCKER_VERSION holds it, such as 20.10,29.
func versions(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// engines finds the Docker of each version. Its errors are InputErrors.
func engines(versions []string) ([]engine, error) {
	found := make([]engine, 0, len(versions))
	for _, v := range versions {
		if !validVersion.MatchString(v) {
			return nil, refuse("cannot make a host with Docker %q: a version is written as 28.5 or 29", v)
		}
		dir, err := engineDir(v)
		if err != nil {
			return nil, err
		}
		e := engine{Version: v, Dockerd: "/usr/sbin/dockerd"}
		if e.Root, err = filepath.EvalSymlinks(filepath.Join(dir, "root")); err != nil {
			return nil, refuse("cannot make a host with Docker %s: %v; build it again with test/tools/install.sh docker-%s", v, err, v)
		}
		switch own, err := exec.LookPath(filepath.Join(dir, "bin", "dockerd")); {
		case err == nil:
			e.Dockerd = own
		case !errors.Is(err, fs.ErrNotExist):
			return nil, refuse("cannot make a host with Docker %s: %v", v, err)
		}
		found = append(found, e)
	}
	return found, nil
}

// engineDir returns the directory docker-VERSION below $WEFT_DOCKERS or
// .cache/bin of the checkout, without symbolic links: a host sees the machine's
// directories, except those below /usr, /etc and /run.
func engineDir(version string) (string, error) {
	var dirs []string
	if dir := os.Getenv("WEFT_DOCKERS"); dir != "" {
		dirs = append(dirs, dir)
	} else {
		for _, root := range checkouts() {
			dirs = append(dirs, filepath.Join(root, ".cache", "bin"))
		}
	}
	for _, dir := range dirs {
		if path, err := filepath.EvalSymlinks(filepath.Join(dir, "docker-"+version)); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", refuse("cannot make a host with Docker %s: there is no docker-%[1]s in %s; build it with test/tools/install.sh docker-%[1]s",
		version, strings.Join(dirs, ", "))
}

// HasDocker reports whether hosts can have Docker of that version, such as 29.
func HasDocker(version string) bool {
	_, err := engineDir(version)
	return err == nil
}

// major returns the first number of the version, 0 for the machine's own.
func (e engine) major() int {
	first, _, _ := strings.Cut(e.Version, ".")
	n, _ := strconv.Atoi(first) // a version asked for begins with a number
	return n
}

// flags returns what this dockerd needs on a kernel with or without time
// namespaces: since 29.5 every container gets one, and starts nowhere without.
func (e engine) flags(timeNamespaces bool) []string {
	if e.major() < 29 || timeNamespaces {
		return nil
	}
	return []string{"--feature", "time-namespaces=false"}
}

// hasTimeNamespaces reports whether this kernel has time namespaces (CONFIG_TIME_NS).
func hasTimeNamespaces() bool {
	_, err := os.Stat("/proc/self/ns/time")
	return err == nil
}
