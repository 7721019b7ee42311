package install

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// composer is a Compose: the docker-compose 1.29 of this machine, or the host's own
// docker compose, which the Debians of newer Dockers have.
type composer string

const (
	old composer = "docker-compose"
	own composer = "docker compose"
)

// try runs a command of it on the host's Docker.
func (c composer) try(t *testing.T, h *lab.Host, env []string, path string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"-f", path}, args...)
	if c == own {
		return h.Run(t.Context(), slices.Concat([]string{"env"}, env, []string{"docker", "compose"}, args)...)
	}
	cmd := exec.CommandContext(t.Context(), string(c), args...)
	cmd.Env = append(append(os.Environ(), "DOCKER_HOST=unix://"+h.Path("/run/docker.sock"), "COMPOSE_API_VERSION=auto"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return string(out), err
}

// compose runs a command of it that must succeed.
func (c composer) compose(t *testing.T, h *lab.Host, env []string, path string, args ...string) {
	t.Helper()
	if _, err := c.try(t, h, env, path, args...); err != nil {
		t.Fatalf("%s$ %s %s: %v", h.Name(), c, strings.Join(args, " "), err)
	}
}

// The example of one application on two hosts, with the managed plugin.
func TestCompose(t *testing.T) {
	l := up(t, lab.Config{Hosts: 2})
	for _, h := range l.Hosts() {
		installPlugin(t, h, storeURL(l))
	}
	with := []composer{old}
	if os.Getenv("WEFT_DOCKER_VERSION") != "" && !strings.HasPrefix(run(t, l.Host("h1"), "docker", "--version"), "Docker version 20.") {
		with = append(with, own)
	}
	for _, c := range with {
		t.Run(string(c), func(t *testing.T) { shop(t, l, c) })
	}
}

// shop has the example come up, grow and go.
func shop(t *testing.T, l *lab.Lab, with composer) {
	h1, h2 := l.Host("h1"), l.Host("h2")
	env, example := []string{"WEFT_DRIVER=" + plugin}, file(t, "deploy/compose/compose.yaml")
	with.compose(t, h1, env, example, "up", "-d", "web")
	mirrored(t, h2, "shop")
	// On the second host the network is there already, and Compose takes it.
	with.compose(t, h2, env, example, "up", "-d", "--scale", "worker=3", "worker")

	web := box{h1, strings.TrimSpace(docker(t, h1, "ps", "--filter", "network=shop", "--format", "{{.Names}}")), "shop"}
	workers := strings.Fields(docker(t, h2, "ps", "--filter", "network=shop", "--format", "{{.Names}}"))
	if len(workers) != 3 {
		t.Fatalf("h2 runs %v, want three workers", workers)
	}
	addresses := map[string]string{web.ip(t): web.name}
	for _, name := range workers {
		worker := box{h2, name, "shop"}
		pings(t, web, worker)
		if by, taken := addresses[worker.ip(t)]; taken {
			t.Errorf("%s and %s have one address", by, name)
		}
		addresses[worker.ip(t)] = name
		docker(t, h2, "exec", name, "wget", "-q", "-O", "-", "http://"+web.ip(t)+"/hostname")
	}
	t.Run("a service grows on the other host", func(t *testing.T) {
		with.compose(t, h1, env, example, "up", "-d", "--scale", "worker=2", "web", "worker")
		if names := strings.Fields(docker(t, h1, "ps", "--filter", "network=shop", "--format", "{{.Names}}")); len(names) != 3 {
			t.Errorf("h1 runs %v", names)
		}
	})
	t.Run("names on one host", func(t *testing.T) {
		docker(t, h2, "exec", workers[0], "ping", "-c1", "-W2", "worker")
	})
	t.Run("names across hosts", func(t *testing.T) {
		for _, name := range []string{"web", "www", web.name} {
			eventually(t, 5*time.Second, "h2 finds "+name, func() error {
				_, err := h2.Docker(t.Context(), "exec", workers[0], "wget", "-q", "-O", "-", "http://"+name+"/hostname")
				return err
			})
		}
	})
	t.Run("down on one host and then the other", func(t *testing.T) {
		// Others use the network, so it comes back until the last one is gone.
		_, _ = with.try(t, h2, env, example, "down", "-t", "1")
		docker(t, h1, "exec", web.name, "true")
		mirrored(t, h2, "shop")
		with.compose(t, h1, env, example, "down", "-t", "1")
		for _, h := range l.Hosts() {
			labtest.Gone(t, 10*time.Second, "shop", h)
		}
	})
}

func mirrored(t *testing.T, h *lab.Host, name string) {
	t.Helper()
	labtest.Mirrored(t, 5*time.Second, name, h)
}
