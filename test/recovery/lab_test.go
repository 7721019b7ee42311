package recovery

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// cluster is the lab that the tests share: h1, h2 and one Consul server, a host
// for each scene, and h7, which starts again and again with Docker's own networks.
var cluster *lab.Lab

func TestMain(m *testing.M) {
	os.Exit(lab.Main(lab.Config{Name: "recovery", Hosts: 7}, func(ctx context.Context, l *lab.Lab) int {
		cluster = l // tests with a lab of their own change it
		for _, s := range []*scene{missed, late, paused, killed} {
			go func() { s.over <- s.play(ctx, l, l.Host(s.host)) }()
		}
		return m.Run()
	}))
}

// alone gives the test a lab of its own of one host, with the store, as h1.
func alone(t *testing.T, name, store string) *lab.Host {
	t.Helper()
	one, err := lab.Up(t.Context(), lab.Config{
		Name: fmt.Sprintf("%s-%d", name, os.Getpid()), Hosts: 1, WeftArgs: []string{"--store=" + store},
	})
	if err != nil {
		t.Fatal(err)
	}
	many := cluster
	cluster = one
	t.Cleanup(func() {
		cluster = many
		if err := one.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return one.Host("h1")
}

// scene is what takes long, most of it waiting: it is played on a host of its
// own beside the other tests. The test that looks at its end is parallel, and
// so comes after those that are not.
type scene struct {
	name string // of its network and its container
	host string
	play func(ctx context.Context, l *lab.Lab, h *lab.Host) error
	over chan error
}

// end waits for the end of the scene.
func (s *scene) end(t *testing.T) *lab.Host {
	t.Helper()
	t.Parallel()
	if err := <-s.over; err != nil {
		t.Fatal(err)
	}
	return cluster.Host(s.host)
}

// furnish makes a network and, if there are arguments, a container in it.
func furnish(ctx context.Context, h *lab.Host, name, subnet string, args ...string) error {
	// The range keeps the hosts' stocks off addresses chosen below .128.
	upper := strings.Replace(subnet, ".0/24", ".128/25", 1)
	if _, err := h.Docker(ctx, "network", "create", "-d", "weft", "--ipam-driver", "weft", "--subnet", subnet, "--ip-range", upper, name); err != nil {
		return err
	}
	_, err := h.Docker(ctx, slices.Concat([]string{"run", "-d", "--name", name, "--network", name}, args, []string{"busybox", "sleep", "100000"})...)
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

// docker runs a docker command that must succeed.
var docker = labtest.DockerOn(&cluster)

// eventually waits for what other processes bring about.
var eventually = labtest.Eventually

// network makes a network that both hosts have.
func network(t *testing.T, args ...string) string {
	t.Helper()
	n := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	labtest.Network(t, cluster.Host("h1"), n, args...)
	labtest.Mirrored(t, 5*time.Second, n, cluster.Host("h2"))
	return n
}

// box is a running container.
type box struct {
	labtest.Box
	t                       *testing.T
	host, name, network, ip string
}

func container(t *testing.T, host, n, name string, args ...string) box {
	t.Helper()
	b := box{t: t, host: host, name: n + "-" + name, network: n}
	b.Box = labtest.Start(t, cluster.Host(host), n, b.name, args...)
	b.ip = b.address()
	return b
}

// address is what Docker says that the container has now.
func (b box) address() string { return b.Address("IPAddress") }

// reaches says why the container does not reach the other with its first packet.
func (b box) reaches(to box) error { return b.Ping(to.ip) }

// finds says why the container does not reach the other by its name.
func (b box) finds(to box) error { return b.Ping(to.name) }

// pings sends packets to the other until the returned function is called, which
// gives how many were sent and lost.
func (b box) pings(to box) func() (sent, lost int) {
	b.t.Helper()
	return labtest.Pings(b.t, cluster.Host(b.host), b.name, netip.MustParseAddr(to.ip))
}

// weft runs a weft command on the host and decodes its JSON.
func weft[T any](t *testing.T, host string, args ...string) T {
	t.Helper()
	return labtest.Weft[T](t, cluster.Host(host), args...)
}

// logged counts the lines of the host's weft log with the text.
func logged(t *testing.T, host, text string) int {
	t.Helper()
	return labtest.Logged(t, cluster.Host(host), text)
}

// state is the host's state file, as the host and this process see it.
func state(host string) string { return filepath.Join(cluster.Host(host).Dir(), "weft", "state.db") }
