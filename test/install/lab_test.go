package install

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// plugin is the driver's name on hosts that have weft as a managed plugin.
const plugin = "weft:latest"

var labs atomic.Int32

// up makes a lab of plain Docker hosts, and takes it down after the test.
func up(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	c.Name, c.NoWeft = fmt.Sprintf("install-%d-%d", os.Getpid(), labs.Add(1)), true
	l, err := lab.Up(t.Context(), c)
	if err != nil {
		t.Fatalf("this test needs root and a lab: %v", err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			for _, h := range l.Hosts() {
				log, _ := os.ReadFile(h.Log(lab.Dockerd))
				path := filepath.Join(os.TempDir(), "weft-"+l.Name()+"-"+h.Name()+".log")
				_ = os.WriteFile(path, log, 0o600)
				t.Logf("dockerd's log is in %s", path)
			}
		}
		if err := l.Down(ctx); err != nil {
			t.Errorf("take the lab down: %v", err)
		}
		if left, err := l.Leaks(ctx); err != nil || len(left) > 0 {
			t.Errorf("the lab leaves %v behind (%v)", left, err)
		}
	})
	return l
}

// storeURL is what the hosts of the lab give as --store.
func storeURL(l *lab.Lab) string { return "consul://" + l.Consul(1).Addr().String() + ":8500" }

const root = "../.."

var built sync.Map

// build runs make for a target once, and gives the path of what it made in dist.
func build(t *testing.T, target, glob string, vars ...string) string {
	t.Helper()
	key := strings.Join(append([]string{target}, vars...), " ")
	once, _ := built.LoadOrStore(key, sync.OnceValue(func() error {
		cmd := exec.Command("make", append([]string{"-C", root, target}, vars...)...)
		// A make that runs this test has no say in what this one makes.
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("make %s: %w\n%s", key, err, out)
		}
		return nil
	}))
	if err := once.(func() error)(); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(root, "dist", glob))
	if err != nil || len(found) != 1 {
		t.Fatalf("make %s made %v, want one %s (%v)", target, found, glob, err)
	}
	path, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// binary is the weft of a release, for this machine.
func binary(t *testing.T) string {
	t.Helper()
	return build(t, "binary", "linux_"+runtime.GOARCH+"/weft")
}

// run runs a command on the host that must succeed.
func run(t *testing.T, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), args...)
	if err != nil {
		t.Fatalf("%s$ %s: %v", h.Name(), strings.Join(args, " "), err)
	}
	return out
}

func docker(t *testing.T, h *lab.Host, args ...string) string {
	t.Helper()
	return run(t, h, append([]string{"docker"}, args...)...)
}

// network makes a network of the driver on the host and waits for it on all.
func network(t *testing.T, l *lab.Lab, driver, name string) {
	t.Helper()
	docker(t, l.Host("h1"), "network", "create", "-d", driver, "--ipam-driver", driver, name)
	labtest.Mirrored(t, 5*time.Second, name, l.Hosts()...)
}

// box is a running container.
type box struct {
	host          *lab.Host
	name, network string
}

func start(t *testing.T, h *lab.Host, network, name string, args ...string) box {
	t.Helper()
	docker(t, h, slices.Concat([]string{"run", "-d", "--name", name, "--network", network, "--stop-timeout=1"}, args, []string{lab.Image, "sleep", "100000"})...)
	return box{h, name, network}
}

func (b box) ip(t *testing.T) string {
	t.Helper()
	return docker(t, b.host, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", b.network), b.name)
}

// pings wants the first packet answered, both ways.
func pings(t *testing.T, a, b box) {
	t.Helper()
	for _, pair := range [][2]box{{a, b}, {b, a}} {
		if out, err := pair[0].host.Docker(t.Context(), "exec", pair[0].name, "ping", "-c1", "-W2", pair[1].ip(t)); err != nil {
			t.Errorf("%s does not reach %s: %v\n%s", pair[0].name, pair[1].name, err, out)
		}
	}
}

// finds wants each to find the other by name, which Docker tells weft a moment
// after the start.
func finds(t *testing.T, a, b box) {
	t.Helper()
	for _, pair := range [][2]box{{a, b}, {b, a}} {
		eventually(t, 5*time.Second, pair[0].name+" finds "+pair[1].name, func() error {
			_, err := pair[0].host.Docker(t.Context(), "exec", pair[0].name, "ping", "-c1", "-W2", pair[1].name)
			return err
		})
	}
}

// takesFastPath wants the status of a weft to say so: this way of installing it gives it
// what the fast path needs.
func takesFastPath(t *testing.T, status string) {
	t.Helper()
	if !regexp.MustCompile(`(?m)^Fast path +1 network;`).MatchString(status) {
		t.Errorf("no network takes the fast path:\n%s", status)
	}
}

// during runs f while a pings b, and wants no packet lost.
func during(t *testing.T, a, b box, f func()) {
	t.Helper()
	stop := labtest.Pings(t, a.host, a.name, netip.MustParseAddr(b.ip(t)))
	f()
	sent, lost := stop()
	t.Logf("of %d packets, %d were lost", sent, lost)
	if sent == 0 || lost > 0 {
		t.Errorf("of %d packets, %d were lost", sent, lost)
	}
}

// eventually waits for a condition that other processes bring about, and gives
// how long it took.
var eventually = labtest.Eventually
