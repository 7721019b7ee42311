package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// cluster is the lab that the tests share: two hosts and one Consul server, and
// a host for TestMissedCalls.
var cluster *lab.Lab

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx := context.Background()
	var err error
	cluster, err = lab.Up(ctx, lab.Config{Name: fmt.Sprintf("recovery-%d", os.Getpid()), Hosts: 3, Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need root and a lab:", err)
		return 1
	}
	go func() { removed <- removeUnnoticed(ctx) }()
	code := m.Run()
	for _, h := range cluster.Hosts() {
		if log, err := os.ReadFile(h.Log(lab.Weft)); code != 0 && err == nil {
			path := fmt.Sprintf("%s/weft-recovery-%s.log", os.TempDir(), h.Name())
			fmt.Fprintln(os.Stderr, "weft's log of", h.Name(), "is in", path, os.WriteFile(path, log, 0o600))
		}
	}
	if err := cluster.Down(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "take the lab down:", err)
		return 1
	}
	return code
}

// missed is a container, and its network, that h3's Docker removes while weft
// is not there. That takes Docker most of a minute, beside the other tests.
const missed = "missed"

var removed = make(chan error, 1)

func removeUnnoticed(ctx context.Context) error {
	h3 := cluster.Host("h3")
	for _, args := range [][]string{
		{"network", "create", "-d", "weft", "--ipam-driver", "weft", missed},
		{"run", "-d", "--name", missed, "--network", missed, "busybox", "sleep", "100000"},
	} {
		if _, err := h3.Docker(ctx, args...); err != nil {
			return err
		}
	}
	time.Sleep(15 * time.Second) // weft doubts no endpoint that is not a minute old
	if err := h3.Kill(ctx, lab.Weft); err != nil {
		return err
	}
	_, err := h3.Docker(ctx, "rm", "-f", missed)
	return err
}

// sh runs a shell command on the host, which must succeed.
func sh(t *testing.T, host, command string) string {
	t.Helper()
	out, err := cluster.Host(host).Run(t.Context(), "sh", "-c", command)
	if err != nil {
		t.Fatalf("%s$ %s: %v", host, command, err)
	}
	return out
}

// docker runs a docker command, which must succeed.
func docker(t *testing.T, host string, args ...string) string {
	t.Helper()
	out, err := cluster.Host(host).Docker(t.Context(), args...)
	if err != nil {
		t.Fatalf("%s$ docker %s: %v", host, strings.Join(args, " "), err)
	}
	return out
}

// eventually waits for what other processes bring about.
func eventually(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	began := time.Now()
	var err error
	for time.Since(began) < limit {
		if err = check(); err == nil {
			t.Logf("after %s: %s", time.Since(began).Round(100*time.Millisecond), what)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("not within %s: %s: %v", limit, what, err)
}

// network makes a network that both hosts have.
func network(t *testing.T) string {
	t.Helper()
	n := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	docker(t, "h1", "network", "create", "-d", "weft", "--ipam-driver", "weft", n)
	t.Cleanup(func() {
		if _, err := cluster.Host("h1").Docker(context.WithoutCancel(t.Context()), "network", "rm", n); err != nil {
			t.Errorf("remove network %s: %v", n, err)
		}
	})
	eventually(t, 5*time.Second, "h2 has the network", func() error {
		_, err := cluster.Host("h2").Docker(t.Context(), "network", "inspect", n)
		return err
	})
	return n
}

// box is a running container.
type box struct {
	t                       *testing.T
	host, name, network, ip string
}

func container(t *testing.T, host, n, name string) box {
	t.Helper()
	b := box{t: t, host: host, name: n + "-" + name, network: n}
	docker(t, host, "run", "-d", "--name", b.name, "--network", n, "busybox", "sleep", "100000")
	t.Cleanup(b.remove)
	b.ip = docker(t, host, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", n), b.name)
	return b
}

func (b box) remove() {
	ctx := context.WithoutCancel(b.t.Context())
	if _, err := cluster.Host(b.host).Docker(ctx, "rm", "-f", b.name); err != nil && !strings.Contains(err.Error(), "No such container") {
		b.t.Errorf("remove container %s: %v", b.name, err)
	}
}

// reaches says why the container does not reach the other with its first packet.
func (b box) reaches(to box) error {
	out, err := cluster.Host(b.host).Docker(b.t.Context(), "exec", b.name, "ping", "-c1", "-W2", to.ip)
	if err != nil {
		return fmt.Errorf("%s does not reach %s: %w: %s", b.name, to.name, err, out)
	}
	return nil
}

var pingResult = regexp.MustCompile(`(\d+) packets transmitted, (\d+) packets received`)

// pings sends 20 packets a second to the other until the returned function is
// called, which gives how many were sent and lost.
func (b box) pings(to box) func() (sent, lost int) {
	b.t.Helper()
	file := "/tmp/ping-" + strings.ReplaceAll(to.ip, ".", "-")
	if _, err := cluster.Host(b.host).Docker(b.t.Context(), "exec", "-d", b.name, "sh", "-c",
		fmt.Sprintf("echo $$ > %s.pid; exec ping -i 0.05 -q %s > %s 2>&1", file, to.ip, file)); err != nil {
		b.t.Fatal(err)
	}
	return func() (int, int) {
		b.t.Helper()
		var out string
		docker(b.t, b.host, "exec", b.name, "sh", "-c", fmt.Sprintf("kill -INT $(cat %s.pid)", file))
		eventually(b.t, 5*time.Second, b.name+" has counted", func() error {
			out = docker(b.t, b.host, "exec", b.name, "cat", file)
			if !pingResult.MatchString(out) {
				return fmt.Errorf("%q", out)
			}
			return nil
		})
		m := pingResult.FindStringSubmatch(out)
		sent, _ := strconv.Atoi(m[1])
		received, _ := strconv.Atoi(m[2])
		// One may be on its way at the end.
		return sent, max(0, sent-received-1)
	}
}

// weft runs a weft command on the host and decodes its JSON.
func weft[T any](t *testing.T, host string, args ...string) T {
	t.Helper()
	var v T
	out, ran := cluster.Host(host).Run(t.Context(), slices.Concat([]string{binary(t)}, args, []string{"--json"})...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%s$ weft %s: %v: %q (%v)", host, strings.Join(args, " "), err, out, ran)
	}
	return v
}

// binary is the weft that the lab runs.
func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(cmp.Or(os.Getenv("WEFT_BIN"), "../../bin/weft"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// logged counts the lines of the host's weft log with the text.
func logged(t *testing.T, host, text string) int {
	t.Helper()
	log, err := os.ReadFile(cluster.Host(host).Log(lab.Weft))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), text)
}

// state is the host's state file, as the host and this process see it.
func state(host string) string { return filepath.Join(cluster.Host(host).Dir(), "weft", "state.db") }
