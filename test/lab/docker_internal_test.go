package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shelf makes a directory as test/tools/install.sh leaves it: docker-28.5, and
// docker-29 which has a daemon of its own in the Debian of the other.
func shelf(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"cache/docker-28.5-forky/root/usr", "cache/docker-29-x/bin", "cache/docker-1-x/bin", "bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"cache/docker-29-x/root": dir + "/cache/docker-28.5-forky/root",
		"bin/docker-28.5":        dir + "/cache/docker-28.5-forky",
		"bin/docker-29":          dir + "/cache/docker-29-x",
		"bin/docker-1":           dir + "/cache/docker-1-x", // half built
		"bin/docker-2":           dir + "/cache/docker-2-x", // cleaned away
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cache/docker-29-x/bin/dockerd"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEFT_DOCKERS", filepath.Join(dir, "bin"))
	return dir
}

func TestHostsHaveTheirVersionsInTurn(t *testing.T) {
	dir := shelf(t)
	t.Setenv("WEFT_DOCKER_VERSION", "28.5, 29")
	found, err := Config{}.engines()
	if err != nil {
		t.Fatal(err)
	}
	root := dir + "/cache/docker-28.5-forky/root"
	want := []engine{
		{Version: "28.5", Dockerd: "/usr/sbin/dockerd", Root: root},
		{Version: "29", Dockerd: dir + "/cache/docker-29-x/bin/dockerd", Root: root},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("of the environment (-want +got):\n%s", diff)
	}
	l := newLab(settings{Name: "x", Hosts: 3, Engines: found}, dir)
	for i, want := range []string{"28.5", "29", "28.5"} {
		h := l.Hosts()[i]
		if got := h.DockerVersion(); got != want {
			t.Errorf("%s has Docker %s, want %s", h.Name(), got, want)
		}
		path, _, _ := strings.Cut(strings.TrimPrefix(h.environ()[0], "PATH="), ":")
		if argv := h.dockerdLine(); argv[0] != h.engine.Dockerd || path != filepath.Dir(argv[0]) {
			t.Errorf("%s starts %s, and looks in %s first", h.Name(), argv[0], path)
		}
	}
	if path := l.sw.environ()[0]; !strings.HasPrefix(path, "PATH=/usr/local/sbin:") {
		t.Errorf("the switch has %s", path)
	}
	// What was asked for here goes before the environment.
	if found, err = (Config{Docker: []string{"29"}}).engines(); err != nil || len(found) != 1 || found[0].Version != "29" {
		t.Errorf("asked for 29: %v, %v", found, err)
	}
	if found, err = (Config{Dockerd: "/bin/true"}).engines(); err != nil || found[0].Version != "" || found[0].Root != "" {
		t.Errorf("asked for a daemon: %v, %v", found, err)
	}
}

func TestVersionsThatAreNotThere(t *testing.T) {
	dir := shelf(t)
	for _, c := range []struct {
		Config
		want string
	}{
		{Config{Docker: []string{"28.5", "3"}}, "there is no docker-3 in " + dir + "/bin; build it with test/tools/install.sh docker-3"},
		{Config{Docker: []string{"2"}}, "there is no docker-2"},
		{Config{Docker: []string{"1"}}, "build it again with test/tools/install.sh docker-1"},
		{Config{Docker: []string{"../28.5"}}, `cannot make a host with Docker "../28.5"`},
		{Config{Docker: []string{"29"}, Dockerd: "/bin/true"}, "cannot use both /bin/true and Docker 29: choose one"},
	} {
		var refused *InputError
		if _, err := c.engines(); !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, %s: %v, want %q", c.Docker, c.Dockerd, err, c.want)
		}
	}
}

func TestTimeNamespacesAreLeftOutWhereTheyAreMissing(t *testing.T) {
	for version, needs := range map[string]bool{"": false, "20.10": false, "28.5": false, "29": true, "29.1": true, "30": true} {
		e := engine{Version: version}
		if got := e.flags(false); (len(got) > 0) != needs {
			t.Errorf("Docker %q without time namespaces: %q", version, got)
		}
		if got := e.flags(true); len(got) > 0 {
			t.Errorf("Docker %q with time namespaces: %q", version, got)
		}
	}
}
