package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

func TestMain(m *testing.M) {
	// The labs of these tests run this very binary in weft's place.
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(standIn(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// standIn is weft as far as a lab cares: it says what it was given and whether
// Docker was there first, and listens.
func standIn(args []string) int {
	fmt.Println("args", strings.Join(args, " "))
	if os.Getenv("WEFT_STANDIN") != "" {
		fmt.Println("the environment leaks into the lab")
	}
	if strings.Contains(strings.Join(args, " "), "--fail") {
		fmt.Println("cannot start: asked to fail")
		return 1
	}
	_, err := os.Stat("/run/docker.sock")
	fmt.Println("docker.sock first:", err == nil)
	const socket = "/run/docker/plugins/weft.sock"
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return 1
		}
		_ = conn.Close()
	}
}

// unique names a lab after this process, so that runs do not meet.
func unique(name string) string { return fmt.Sprintf("test-%d-%s", os.Getpid(), name) }

func up(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	c.Name = unique(c.Name)
	began := time.Now()
	l, err := lab.Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: up in %v", c.Name, time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { down(t, l) })
	return l
}

// down removes the lab and checks that nothing is left.
func down(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	if err := l.Down(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("%s: down in %v", l.Name(), time.Since(began).Round(time.Millisecond))
	gone(t, l)
}

func gone(t *testing.T, l *lab.Lab) {
	t.Helper()
	left, err := l.Leaks(context.Background())
	if err != nil {
		t.Error(err)
	}
	if len(left) > 0 {
		t.Errorf("left of the lab:\n%s", strings.Join(left, "\n"))
	}
}

func docker(t *testing.T, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := h.Docker(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func links(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

func TestLabComesAndGoes(t *testing.T) {
	before := links(t)
	var said strings.Builder
	l := up(t, lab.Config{Name: "whole", Hosts: 2, NoWeft: true, Progress: &said})

	for i, h := range l.Hosts() {
		hostname, err := h.Run(t.Context(), "hostname")
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("h%d", i+1); hostname != want {
			t.Errorf("hostname is %q, want %q", hostname, want)
		}
		if out := docker(t, h, "info", "--format", "{{.Driver}} {{.Name}} {{.DockerRootDir}}"); !strings.HasPrefix(out, "overlay2 "+h.Name()+" "+l.Dir()) &&
			!strings.HasPrefix(out, "overlayfs "+h.Name()+" "+l.Dir()) {
			t.Errorf("%s: docker info says %q", h.Name(), out)
		}
	}
	// A container which outlives its daemon is the hardest to remove.
	docker(t, l.Host("h1"), "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	docker(t, l.Host("h1"), "exec", "box", "ping", "-c1", "-W5", l.Host("h2").Addr().String())
	if err := l.Host("h1").Kill(t.Context(), lab.Dockerd); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said.String(), "h2: Docker answers") {
		t.Errorf("progress does not tell of h2:\n%s", said.String())
	}

	down(t, l)
	if diff := cmp.Diff(before, links(t)); diff != "" {
		t.Errorf("the machine's links changed (-before +after):\n%s", diff)
	}
}

func TestLabsStandSideBySide(t *testing.T) {
	a := up(t, lab.Config{Name: "a", Hosts: 1, NoWeft: true})
	b := up(t, lab.Config{Name: "b", Hosts: 1, NoWeft: true})
	if a.Host("h1").Addr() != b.Host("h1").Addr() {
		t.Errorf("the labs' addresses differ: %s and %s", a.Host("h1").Addr(), b.Host("h1").Addr())
	}
	docker(t, a.Host("h1"), "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	docker(t, b.Host("h1"), "run", "-d", "--name", "box", "busybox", "sleep", "1000")
	down(t, a)
	if out := docker(t, b.Host("h1"), "ps", "--format", "{{.Names}}"); out != "box" {
		t.Errorf("after the other lab's end docker ps says %q, want box", out)
	}
}

func TestWeftStartsBeforeDocker(t *testing.T) {
	t.Setenv("WEFT_STANDIN", "seen")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Config{Name: "weft", Hosts: 1, Weft: self, WeftArgs: []string{"--log-level", "debug"}})
	h := l.Host("h1")
	first := "args --store consul://198.51.100.2:8500 --host h1 --advertise 198.51.100.11 --plugin-dir /run/docker/plugins" +
		" --docker unix:///run/docker.sock --state-dir " + filepath.Join(l.Dir(), "h1/weft") + " --log-level debug\n"
	if diff := cmp.Diff(first+"docker.sock first: false\n", read(t, h.Log(lab.Weft))); diff != "" {
		t.Errorf("weft's log (-want +got):\n%s", diff)
	}

	if err := h.Kill(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	if h.Running(lab.Weft) {
		t.Error("weft runs after Kill")
	}
	if err := h.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	if want := first + "docker.sock first: false\n" + first + "docker.sock first: true\n"; read(t, h.Log(lab.Weft)) != want {
		t.Errorf("weft's second run is not in its log:\n%s", read(t, h.Log(lab.Weft)))
	}
	// A stopped process is still there, and goes on.
	pid := h.PID(lab.Weft)
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT} {
		if err := h.Signal(lab.Weft, sig); err != nil {
			t.Error(err)
		}
	}
	if h.PID(lab.Weft) != pid {
		t.Errorf("weft is process %d after a pause, was %d", h.PID(lab.Weft), pid)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

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

func TestConsulServers(t *testing.T) {
	l := up(t, lab.Config{Name: "consul", Hosts: 1, Consuls: 3, NoWeft: true})
	put := func(c *lab.Consul, value string) {
		t.Helper()
		if _, err := consulKV(t, l, c, "PUT", value); err != nil {
			t.Fatal(err)
		}
	}
	put(l.Consul(1), "one")
	// A wiped server learns everything again from the others.
	if err := l.Consul(1).Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.Consul(1).Running() {
		t.Error("consul1 runs after Wipe")
	}
	if err := l.Consul(2).AwaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(l.Consul(2), "two")
	if err := l.Consul(1).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := consulKV(t, l, l.Consul(1), "GET", ""); err != nil || got != "two" {
		t.Errorf("the wiped server answers %q, %v, want two", got, err)
	}
	// Without a majority a server starts, but has no leader to wait for.
	for i := 1; i <= 3; i++ {
		if err := l.Consul(i).Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i <= 3; i++ {
		if err := l.Consul(i).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := consulKV(t, l, l.Consul(3), "GET", ""); err != nil || got != "two" {
		t.Errorf("after a restart of all, %q, %v, want two", got, err)
	}
}

// consulKV reads or writes one key, from h1, until the servers agree.
func consulKV(t *testing.T, l *lab.Lab, c *lab.Consul, method, body string) (string, error) {
	t.Helper()
	url := c.URL() + "/v1/kv/test?raw"
	var out string
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		out, err = consulKVOnce(t, l, method, url, body)
		if err == nil {
			return out, nil
		}
	}
	return out, err
}

func TestWhatFailsLeavesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := unique("fails")
	_, err = lab.Up(t.Context(), lab.Config{Name: name, Hosts: 2, Weft: self, WeftArgs: []string{"--fail"}})
	if err == nil || !strings.Contains(err.Error(), "cannot start: asked to fail") {
		t.Errorf("Up with a weft that fails: %v; want the end of its log", err)
	}
	nothing(t, name)

	// A person who loses patience.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := lab.Up(ctx, lab.Config{Name: name, Hosts: 2, NoWeft: true}); err == nil {
		t.Error("Up succeeds although its context ended")
	}
	nothing(t, name)
}

func TestDamagedLabIsRemoved(t *testing.T) {
	t.Run("its processes killed", func(t *testing.T) {
		l := up(t, lab.Config{Name: "killed", Hosts: 1, NoWeft: true})
		docker(t, l.Host("h1"), "run", "-d", "busybox", "sleep", "1000")
		for _, file := range []string{"h1/holder.pid", "h1/dockerd.pid", "consul1/holder.pid", "switch/holder.pid"} {
			killByFile(t, filepath.Join(l.Dir(), file))
		}
		if was, err := lab.Remove(t.Context(), l.Name(), ""); err != nil || !was {
			t.Errorf("Remove: %t, %v", was, err)
		}
		gone(t, l)
	})
	t.Run("its settings lost", func(t *testing.T) {
		l := up(t, lab.Config{Name: "lost", Hosts: 1, NoWeft: true})
		if err := os.Remove(filepath.Join(l.Dir(), "lab.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := lab.Open(l.Name(), ""); err == nil {
			t.Error("Open succeeds without settings")
		}
		if was, err := lab.Remove(t.Context(), l.Name(), ""); err != nil || !was {
			t.Errorf("Remove: %t, %v", was, err)
		}
		gone(t, l)
	})
	t.Run("its directory removed", func(t *testing.T) {
		l := up(t, lab.Config{Name: "bare", Hosts: 1, NoWeft: true})
		if out, err := exec.Command("rm", "-rf", l.Dir()).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if was, err := lab.Remove(t.Context(), l.Name(), ""); err != nil || !was {
			t.Errorf("Remove: %t, %v", was, err)
		}
		gone(t, l)
	})
	t.Run("it never was", func(t *testing.T) {
		if was, err := lab.Remove(t.Context(), unique("never"), ""); err != nil || was {
			t.Errorf("Remove: %t, %v", was, err)
		}
	})
}

// nothing checks that no lab of that name is found.
func nothing(t *testing.T, name string) {
	t.Helper()
	if was, err := lab.Remove(context.Background(), name, ""); err != nil || was {
		t.Errorf("something of %s was left: %t, %v", name, was, err)
	}
}

func killByFile(t *testing.T, path string) {
	t.Helper()
	var pid int
	if _, err := fmt.Sscan(read(t, path), &pid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
