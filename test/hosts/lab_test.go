package hosts

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// cluster is the lab that the tests share: three hosts and one Consul server.
// Each test uses networks of its own and leaves nothing behind.
var cluster *lab.Lab

func TestMain(m *testing.M) {
	os.Exit(lab.Main(lab.Config{Name: "hosts", WeftArgs: []string{"--log-level=debug"}}, func(_ context.Context, l *lab.Lab) int {
		cluster = l
		return m.Run()
	}))
}

// docker runs a docker command that must succeed.
var docker = labtest.DockerOn(&cluster)

// refused runs a docker command that must fail with all the words.
func refused(t *testing.T, host string, words []string, args ...string) {
	t.Helper()
	out, err := cluster.Host(host).Docker(t.Context(), args...)
	if err == nil {
		t.Errorf("%s$ docker %s: should be refused, gave %q", host, strings.Join(args, " "), out)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s$ docker %s: want %q in the refusal %q", host, strings.Join(args, " "), word, err)
		}
	}
}

// name is unique to the test, so that what one leaves does not meet another.
func name(t *testing.T, suffix string) string {
	t.Helper()
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.TrimPrefix(t.Name(), "Test"))
	return strings.ToLower(clean) + "-" + suffix
}

// network makes a network on the host and removes it everywhere after the test.
func network(t *testing.T, host string, args ...string) string {
	t.Helper()
	return namedNetwork(t, host, name(t, "net"), args...)
}

func namedNetwork(t *testing.T, host, n string, args ...string) string {
	t.Helper()
	docker(t, host, slices.Concat([]string{"network", "create", "-d", "weft", "--ipam-driver", "weft"}, args, []string{n})...)
	t.Cleanup(func() { removeNetwork(t, host, n) })
	return n
}

// removeNetwork removes the network on the host and waits until no host has it.
func removeNetwork(t *testing.T, host, n string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if _, err := cluster.Host(host).Docker(ctx, "network", "rm", n); err != nil && !strings.Contains(err.Error(), "not found") && !strings.Contains(err.Error(), "No such network") {
		t.Errorf("remove network %s: %v", n, err)
		return
	}
	labtest.Gone(t, 10*time.Second, n, cluster.Hosts()...)
}

// mirrored waits until the host's Docker has the network.
func mirrored(t *testing.T, host, n string) {
	t.Helper()
	labtest.Mirrored(t, 5*time.Second, n, cluster.Host(host))
}

// container starts a busybox that idles, and removes it after the test.
func container(t *testing.T, host, n string, args ...string) box {
	t.Helper()
	unique := name(t, host+"-"+fmt.Sprint(time.Now().UnixNano()%1e6))
	labtest.Start(t, cluster.Host(host), n, unique, args...)
	return called(t, host, n, unique)
}

// called is the container of that name, whoever starts it.
func called(t *testing.T, host, n, name string) box {
	t.Helper()
	return box{
		Box: labtest.Box{TB: t, Host: cluster.Host(host), Name: name, Network: n},
		t:   t, host: host,
	}
}

// box is a running container.
type box struct {
	labtest.Box
	t    *testing.T
	host string
}

// ip is the container's address in its network.
func (b box) ip() string { return b.Address("IPAddress") }

// ip6 is the container's IPv6 address in its network.
func (b box) ip6() string { return b.Address("GlobalIPv6Address") }

// exec runs a command in the container, which must succeed.
func (b box) exec(args ...string) string {
	b.t.Helper()
	return docker(b.t, b.host, append([]string{"exec", b.Name}, args...)...)
}

// pings says whether the container reaches the address with its first packet.
func (b box) pings(address string) {
	b.t.Helper()
	if err := b.Ping(address); err != nil {
		b.t.Error(err)
	}
}

// eventually waits for what other processes bring about.
var eventually = labtest.Eventually

// weft runs a weft command on the host and decodes its JSON.
func weft[T any](t *testing.T, host string, args ...string) T {
	t.Helper()
	return labtest.Weft[T](t, cluster.Host(host), args...)
}
