package lab_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/weft-net/weft/test/lab"
)

func TestHosts(t *testing.T) {
	l := up(t, lab.Config{Name: "hosts", Hosts: 3, NoWeft: true})
	t.Run("dockerd comes back", func(t *testing.T) { dockerdComesBack(t, l) })
	t.Run("cut and heal", func(t *testing.T) { cutAndHeal(t, l) })
	t.Run("tools in a container's network", func(t *testing.T) { toolsInContainer(t, l) })
	t.Run("opened by name", func(t *testing.T) { openedByName(t, l) })
	t.Run("swarm", func(t *testing.T) { swarm(t, l) })
}

func dockerdComesBack(t *testing.T, l *lab.Lab) {
	h := l.Host("h1")
	docker(t, h, "run", "-d", "--name", "always", "--restart", "always", "--stop-signal", "KILL", "busybox", "sleep", "1000")
	for _, end := range []func(context.Context, lab.Service) error{h.Kill, h.Stop} {
		if err := end(t.Context(), lab.Dockerd); err != nil {
			t.Fatal(err)
		}
		if h.Running(lab.Dockerd) {
			t.Error("dockerd runs after its end")
		}
		if _, err := h.Docker(t.Context(), "ps"); err == nil {
			t.Error("docker ps succeeds without dockerd")
		}
		if err := h.Start(t.Context(), lab.Dockerd); err != nil {
			t.Fatal(err)
		}
		if out := docker(t, h, "ps", "--format", "{{.Names}}"); out != "always" {
			t.Errorf("docker ps says %q, want always", out)
		}
	}
	if err := h.Start(t.Context(), lab.Dockerd); err != nil {
		t.Errorf("start of a running dockerd: %v", err)
	}
	docker(t, h, "rm", "-f", "always")
}

func cutAndHeal(t *testing.T, l *lab.Lab) {
	answers := func(from, to string) bool {
		out, err := l.Host(from).Run(t.Context(), "ping", "-c1", "-W1", to)
		return err == nil && strings.Contains(out, "1 received")
	}
	check := func(want map[[2]string]bool) {
		t.Helper()
		for pair, open := range want {
			if answers(pair[0], pair[1]) != open {
				t.Errorf("%s reaches %s: %t, want %t", pair[0], pair[1], !open, open)
			}
		}
	}
	const h2v6 = "2001:db8:51::12"
	check(map[[2]string]bool{{"h1", "h2"}: true, {"h2", "h1"}: true, {"h1", "consul1"}: true, {"h1", h2v6}: true})
	for range 2 { // twice is as good as once
		if err := l.Cut(t.Context(), "h1", "h2"); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Cut(t.Context(), "h1", "consul1"); err != nil {
		t.Fatal(err)
	}
	check(map[[2]string]bool{
		{"h1", "h2"}: false, {"h2", "h1"}: false, {"h1", "consul1"}: false, {"h1", h2v6}: false,
		{"h1", "h3"}: true, {"h2", "h3"}: true, {"h2", "consul1"}: true,
	})
	for range 2 {
		if err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check(map[[2]string]bool{{"h1", "h2"}: true, {"h2", "h1"}: true, {"h1", "consul1"}: true, {"h1", h2v6}: true})
	var refused *lab.InputError
	if err := l.Cut(t.Context(), "h1", "h7"); !errors.As(err, &refused) {
		t.Errorf("cut from h7: %v, want a refusal", err)
	}
}

func toolsInContainer(t *testing.T, l *lab.Lab) {
	h := l.Host("h2")
	docker(t, h, "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	cmd, err := h.CommandInContainer(t.Context(), "box", "ip", "-brief", "addr", "show", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.Output()
	addr := docker(t, h, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "box")
	if err != nil || !strings.Contains(string(out), addr+"/") {
		t.Errorf("ip addr in the container says %q, %v; Docker says %s", out, err, addr)
	}
	docker(t, h, "rm", "-f", "box")
	if _, err := h.ContainerPID(t.Context(), "box"); err == nil {
		t.Error("a container which is gone has a process id")
	}
}

func openedByName(t *testing.T, l *lab.Lab) {
	other, err := lab.Open(l.Name(), "")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := other.Host("h3").PID(lab.Dockerd), l.Host("h3").PID(lab.Dockerd); got != want || got == 0 {
		t.Errorf("dockerd of h3 is process %d, want %d", got, want)
	}
	docker(t, other.Host("h3"), "version")
	var refused *lab.InputError
	if _, err := lab.Up(t.Context(), lab.Config{Name: l.Name(), NoWeft: true}); !errors.As(err, &refused) {
		t.Errorf("a second Up: %v, want a refusal", err)
	}
}

// Swarm's overlay is what weft is measured against, so a lab must carry it.
func swarm(t *testing.T, l *lab.Lab) {
	h1, h2 := l.Host("h1"), l.Host("h2")
	docker(t, h1, "swarm", "init", "--advertise-addr", h1.Addr().String())
	token := docker(t, h1, "swarm", "join-token", "-q", "worker")
	docker(t, h2, "swarm", "join", "--token", token, "--advertise-addr", h2.Addr().String(), h1.Addr().String()+":2377")
	docker(t, h1, "network", "create", "-d", "overlay", "--attachable", "net")
	docker(t, h1, "run", "-d", "--name", "one", "--network", "net", "busybox", "sleep", "1000")
	docker(t, h2, "run", "-d", "--name", "two", "--network", "net", "busybox", "sleep", "1000")
	out := docker(t, h2, "exec", "two", "ping", "-c3", "one")
	if !strings.Contains(out, "3 packets received") {
		t.Errorf("ping over Swarm's overlay:\n%s", out)
	}
}
