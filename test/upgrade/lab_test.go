package upgrade

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
	"github.com/weft-net/weft/test/whole"
)

var (
	cluster *lab.Lab
	program string // the weft of all hosts, until another is put in its place
	newer   string // that other one
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weft-upgrade-")
	if err == nil {
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "weft")
		err = programs()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the upgrade:", err)
		return 1
	}
	return lab.Main(lab.Config{Name: "upgrade", Weft: program}, func(_ context.Context, l *lab.Lab) int {
		cluster = l
		return m.Run()
	})
}

// programs finds the new weft, and makes a copy of the old one.
func programs() error {
	old, err := os.ReadFile(cmp.Or(os.Getenv("WEFT_OLD"), "../../.cache/bin/weft-old"))
	if err != nil {
		return fmt.Errorf("read the old weft: %w; test/tools/install.sh weft-old builds it", err)
	}
	if newer, err = filepath.Abs(cmp.Or(os.Getenv("WEFT_BIN"), "../../bin/weft")); err != nil {
		return err
	}
	if _, err := os.Stat(newer); err != nil {
		return fmt.Errorf("find the new weft: %w; make build builds it", err)
	}
	return os.WriteFile(program, old, 0o755) //nolint:gosec // a program
}

// replace puts the new program in the place of the host's and restarts it, as a
// package does; the host sees it alone.
func replace(t *testing.T, h *lab.Host) {
	t.Helper()
	if _, err := h.Run(t.Context(), "mount", "--bind", newer, program); err != nil {
		t.Fatal(err)
	}
	restart(t, h)
}

// goBack undoes replace.
func goBack(t *testing.T, h *lab.Host) {
	t.Helper()
	if _, err := h.Run(t.Context(), "umount", "--lazy", program); err != nil {
		t.Fatal(err)
	}
	restart(t, h)
}

func restart(t *testing.T, h *lab.Host) {
	t.Helper()
	if err := h.Stop(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
}

// makeNetwork makes a network on the host.
func makeNetwork(ctx context.Context, h *lab.Host, name string, args ...string) error {
	_, err := h.Docker(ctx, slices.Concat([]string{"network", "create", "-d", "weft", "--ipam-driver", "weft"}, args, []string{name})...)
	return err
}

// removeNetwork removes it on the host.
func removeNetwork(ctx context.Context, h *lab.Host, name string) error {
	_, err := h.Docker(ctx, "network", "rm", name)
	return err
}

// networks waits until all hosts have these networks and no other.
func networks(t *testing.T, names ...string) {
	t.Helper()
	slices.Sort(names)
	labtest.Eventually(t, 10*time.Second, fmt.Sprint("all hosts have the networks ", names), func() error {
		for _, h := range cluster.Hosts() {
			list := strings.Fields(labtest.Docker(t, h, "network", "ls", "--filter", "driver=weft", "--format", "{{.Name}}"))
			if slices.Sort(list); !slices.Equal(list, names) {
				return fmt.Errorf("%s has %v", h.Name(), list)
			}
		}
		return nil
	})
}

// each does something on each host, on all at once. It is told the host's number and
// the next host.
func each(t *testing.T, do func(ctx context.Context, i int, h, next *lab.Host) error) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	hosts := cluster.Hosts()
	for i, h := range hosts {
		g.Go(func() error { return do(ctx, i, h, hosts[(i+1)%len(hosts)]) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// well waits until Docker, weft, kernels and store agree about what there is, and
// each container reaches and finds each other of its networks.
func well(t *testing.T) {
	t.Helper()
	c := whole.Cluster{Lab: cluster}
	labtest.Eventually(t, 30*time.Second, "the cluster is whole", func() error {
		if broken := c.Broken(t.Context()); len(broken) > 0 {
			return fmt.Errorf("%s", strings.Join(broken, "; "))
		}
		for _, h := range cluster.Hosts() {
			hosts, err := c.Control(h.Name()).Hosts(t.Context())
			if err != nil {
				return err
			}
			for _, other := range hosts {
				if other.State != "live" || other.Silent {
					return fmt.Errorf("on %s, %s is %s (silent: %v)", h.Name(), other.Name, other.State, other.Silent)
				}
			}
		}
		return nil
	})
	silent, err := c.Unreached(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range silent {
		t.Error(s)
	}
}
