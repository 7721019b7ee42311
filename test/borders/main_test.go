package borders

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	frames = flag.Int("frames", 20_000, "how many datagrams are sent in all")
	seed   = flag.Uint64("seed", 1, "decides what they are")
	peer   = flag.String("peer", "weft", "whose networks are attacked: weft's, or swarm's, of which nothing is expected")
)

// shooter is the path of the attackers' program.
var shooter string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(withShooter(m.Run))
}

func withShooter(run func() int) int {
	dir, err := os.MkdirTemp("", "weft-borders-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755) // for attackers without rights
	}
	if err == nil {
		shooter = filepath.Join(dir, "shooter")
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", shooter, "./shooter")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the attackers' program:", err)
		return 1
	}
	return run()
}
