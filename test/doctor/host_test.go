package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var hostFaults = []fault{
	{
		check: "daemon", how: "weft is stopped",
		breaks: func(t *testing.T) func() {
			if err := cluster.Host("h1").Stop(t.Context(), weft); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := cluster.Host("h1").Start(context.WithoutCancel(t.Context()), weft); err != nil {
					t.Error(err)
				}
			}
		},
	},
	{
		check: "docker", how: "the socket is moved away", says: []string{"docker.sock"},
		breaks: commands("h1", "mv /run/docker.sock /run/docker.away", "mv /run/docker.away /run/docker.sock"),
	},
	{
		check: "versions", how: "the other host runs another weft", says: []string{"v0.0.0-other on h2"},
		breaks: restarted("h2", func(t *testing.T) string { return "WEFT_REAL=" + otherWeft(t) }),
	},
	{
		check: "peers", how: "the other host has another --vxlan-port", says: []string{"4790"},
		breaks: restarted("h2", nil, "--vxlan-port=4790"),
	},
	{
		check: "disk", how: "the state directory is read-only", says: []string{"read-only"},
		breaks: covered("-o ro"),
	},
	{
		check: "disk", how: "its file system is nearly full", says: []string{"KiB left"},
		breaks: covered("-o size=64k"),
	},
}

// covered breaks by mounting something over the state directory of h1.
func covered(options string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		dir := filepath.Join(cluster.Host("h1").Dir(), "weft")
		return commands("h1", fmt.Sprintf("mount -t tmpfs %s tmpfs %s", options, dir), "umount "+dir)(t)
	}
}

// other is the path of a weft of another version, once it is built.
var other string

func otherWeft(t *testing.T) string {
	t.Helper()
	if other == "" {
		path := filepath.Join(scratch, "weft-other")
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=v0.0.0-other", "-o", path, "github.com/weft-net/weft/cmd/weft")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as make does, whose packages are then compiled already
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(fmt.Errorf("build another weft: %w: %s", err, out))
		}
		other = path
	}
	return other
}

// On a healthy lab nothing is found, and every check can be made.
func TestHealthyLabHasNoFinding(t *testing.T) {
	healthy(t)
	for _, h := range cluster.Hosts() {
		d, _ := doctor(t, h.Name())
		for _, r := range d.Checks {
			if r.NotChecked != "" {
				t.Errorf("%s: %s is not checked: %s", h.Name(), r.Check, r.NotChecked)
			}
		}
	}
}
