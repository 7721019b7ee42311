package recovery

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// The store may be a container of the very Docker that weft serves: neither
// waits for the other at boot.
func TestConsulInAContainer(t *testing.T) {
	h1 := alone(t, "own", "consul://127.0.0.1:8500")
	consul, err := filepath.Abs(cmp.Or(os.Getenv("WEFT_CONSUL"), "../../.cache/bin/consul"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "-d", "--name", "consul", "--restart=always", "--network=host", "-v", "data:/data", "-v", consul + ":/consul:ro"}
	for _, libraries := range []string{"/lib", "/lib64"} {
		if _, err := os.Stat(libraries); err == nil {
			args = append(args, "-v", libraries+":"+libraries+":ro")
		}
	}
	docker(t, "h1", append(args, lab.Image, "/consul", "agent", "-server", "-bootstrap-expect=1", "-bind="+h1.Addr().String(), "-client=127.0.0.1",
		"-data-dir=/data", "-grpc-tls-port=-1", "-serf-wan-port=-1", "-dns-port=-1", "-hcl=performance { raft_multiplier = 1 }")...)
	create := func(n string) {
		t.Helper()
		eventually(t, 60*time.Second, "network "+n+" can be made", func() error {
			_, err := h1.Docker(t.Context(), "network", "create", "-d", "weft", "--ipam-driver", "weft", "--subnet", "10.86.0.0/24", n)
			return err
		})
	}
	create("n")
	a, b := container(t, "h1", "n", "a", "--restart=always", "--ip=10.86.0.77"), container(t, "h1", "n", "b", "--restart=always")
	for _, order := range [][]lab.Service{{lab.Weft, lab.Dockerd}, {lab.Dockerd, lab.Weft}} {
		took := bootTime(t, h1, func() error {
			first := make(chan error, 1)
			go func() { first <- h1.Start(t.Context(), order[0]) }()
			time.Sleep(200 * time.Millisecond)
			if err := h1.Start(t.Context(), order[1]); err != nil {
				return err
			}
			return <-first
		})
		t.Logf("%v: all started in %s", order, took.Round(10*time.Millisecond))
		for _, name := range []string{"consul", a.name, b.name} {
			if state := docker(t, "h1", "inspect", "-f", "{{.State.Status}} {{.State.Error}}", name); state != "running" {
				t.Errorf("%s is %s", name, state)
			}
		}
		if now := a.address(); now != a.ip {
			t.Errorf("%s had %s and has %s", a.name, a.ip, now)
		}
		eventually(t, 10*time.Second, "they find each other", func() error { return b.finds(a) })
		eventually(t, 60*time.Second, "the store answers", func() error {
			if s := weft[struct{ Store struct{ Reachable bool } }](t, "h1", "status"); !s.Store.Reachable {
				return fmt.Errorf("it does not")
			}
			return nil
		})
	}
	docker(t, "h1", "network", "create", "-d", "weft", "--ipam-driver", "weft", "after")
}
