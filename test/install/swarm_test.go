package install

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// A service's tasks on several nodes share one network of the managed plugin.
func TestSwarm(t *testing.T) {
	l := up(t, lab.Config{Hosts: 2})
	h1, h2 := l.Host("h1"), l.Host("h2")
	for _, h := range l.Hosts() {
		docker(t, h, "plugin", "create", plugin, rootfs(t))
		// Swarm's own overlay has UDP port 4789.
		docker(t, h, "plugin", "set", plugin, "WEFT_STORE="+storeURL(l), "WEFT_VXLAN_PORT=4790")
		docker(t, h, "plugin", "enable", plugin)
	}
	docker(t, h1, "swarm", "init", "--advertise-addr", h1.Addr().String())
	docker(t, h2, "swarm", "join", "--token", docker(t, h1, "swarm", "join-token", "-q", "worker"), h1.Addr().String()+":2377")
	for _, h := range l.Hosts() {
		docker(t, h, "network", "create", "--config-only", "--ipam-driver", plugin, "--ipam-opt", "weft.id=net", "-o", "weft.id=net",
			"--subnet", "10.77.0.0/24", "net-config")
	}
	docker(t, h1, "network", "create", "-d", plugin, "--scope", "swarm", "--config-from", "net-config", "--attachable", "net")
	docker(t, h1, "service", "create", "-d", "--no-resolve-image", "--name", "svc", "--mode", "global", "--network", "net",
		"--stop-grace-period", "1s", lab.Image, "sleep", "100000")
	var tasks [2]box
	for i, h := range l.Hosts() {
		eventually(t, time.Minute, h.Name()+" runs a task", func() error {
			name := docker(t, h, "ps", "--filter", "name=svc", "--format", "{{.Names}}")
			if name == "" {
				return fmt.Errorf("the tasks are %s", docker(t, h1, "service", "ps", "svc", "--no-trunc", "--format", "{{.Node}} {{.CurrentState}} {{.Error}}"))
			}
			tasks[i] = box{h, name, "net"}
			return nil
		})
	}
	if t.Failed() {
		t.FailNow()
	}
	pings(t, tasks[0], tasks[1])
	t.Run("names across nodes are Docker's", func(t *testing.T) {
		eventually(t, 10*time.Second, "h1 finds both tasks", func() error {
			out, _ := h1.Docker(t.Context(), "exec", tasks[0].name, "nslookup", "tasks.svc")
			for _, task := range tasks {
				if !strings.Contains(out, task.ip(t)) {
					return fmt.Errorf("no %s in %q", task.ip(t), out)
				}
			}
			return nil
		})
	})
	t.Run("a container joins it", func(t *testing.T) {
		pings(t, start(t, h2, "net", "plain"), tasks[0])
		docker(t, h2, "rm", "-f", "plain")
	})
	t.Run("is removed", func(t *testing.T) {
		docker(t, h1, "service", "rm", "svc")
		eventually(t, 20*time.Second, "the network can be removed", func() error {
			_, err := h1.Docker(t.Context(), "network", "rm", "net")
			return err
		})
	})
}
