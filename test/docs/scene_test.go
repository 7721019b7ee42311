package docs

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/systemd"
)

// scene is where documents are played: a lab, and a shell on each host.
type scene struct {
	lab    *lab.Lab
	shells map[string]*shell
	hosts  []string
	outbox string // what scp sends lies here, in HOST/N
	consul string // the program
	into   func(host string, argv ...string) *exec.Cmd
}

// up makes a lab without weft, and takes it down after the test.
func up(t *testing.T, c lab.Config) *scene {
	t.Helper()
	c.Name, c.Dir, c.NoWeft = fmt.Sprintf("docs-%d", os.Getpid()), "/var/tmp/weft-lab", true
	l, err := lab.Up(t.Context(), c)
	if err != nil {
		t.Fatalf("this test needs root and a lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("take the lab down: %v", err)
		}
	})
	s := &scene{
		lab: l, shells: map[string]*shell{}, outbox: filepath.Join(l.Dir(), "outbox"), consul: os.Getenv("WEFT_CONSUL"),
		into: func(host string, argv ...string) *exec.Cmd {
			return l.Host(host).Command(context.WithoutCancel(t.Context()), argv...)
		},
	}
	if s.consul == "" {
		s.consul = filepath.Join(root, ".cache/bin/consul")
	}
	for _, h := range l.Hosts() {
		s.hosts = append(s.hosts, h.Name())
	}
	return s
}

// boot has systemd run the hosts.
func (s *scene) boot(t *testing.T) {
	t.Helper()
	machines := map[string]*systemd.Machine{}
	var mu sync.Mutex
	var group errgroup.Group
	for _, h := range s.lab.Hosts() {
		group.Go(func() error {
			m, err := systemd.Boot(t.Context(), h)
			if err == nil {
				mu.Lock()
				machines[h.Name()] = m
				mu.Unlock()
			}
			return err
		})
	}
	err := group.Wait()
	t.Cleanup(func() {
		for name, m := range machines {
			for _, program := range []string{"weft", "consul"} {
				if said, err := os.ReadFile(m.Path("/run/" + program + ".log")); t.Failed() && err == nil {
					t.Logf("%s: %s says:\n%s", name, program, said[max(0, len(said)-4000):])
				}
			}
			if err := m.ShutDown(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.into = func(host string, argv ...string) *exec.Cmd {
		return machines[host].Inside(context.WithoutCancel(t.Context()), argv...)
	}
}

// open starts the shells. dir is where those on the hosts begin.
func (s *scene) open(t *testing.T, dir string) {
	t.Helper()
	// Without them Go would compile everything anew, on each host.
	caches, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	build, modules, _ := strings.Cut(strings.TrimSpace(string(caches)), "\n")
	for _, name := range append([]string{here}, s.hosts...) {
		bash, own, cd := exec.CommandContext(context.WithoutCancel(t.Context()), "bash", "--norc"), t.TempDir(), "true"
		bash.Dir = root
		if name != here {
			bash, own = s.into(name, "bash", "--norc"), s.lab.Host(name).Dir()
			cd = fmt.Sprintf("mkdir -p /run/home && export HOME=/run/home GOCACHE=%s GOMODCACHE=%s && cd %s", build, modules, dir)
		}
		s.shells[name] = newShell(t, bash, own, cd+`; unset WEFT_BIN WEFT_CONSUL MAKEFLAGS MFLAGS MAKELEVEL # of the make that runs this test
sudo() { "$@"; }
systemctl() { # nobody starts a service so quickly that it is still ending
	for _ in {1..50}; do
		[ "$1" = start ] && [ "$(command systemctl is-active "$2")" != inactive ] || break
		sleep 0.1
	done
	command systemctl "$@"
}
docker() { # docker-compose takes the same files and commands
	[ "$1" = compose ] && ! command docker compose version >/dev/null 2>&1 || { command docker "$@"; return; }
	shift
	docker-compose "$@"
}
scp() {
	local to=${*: -1}
	local box=`+s.outbox+`/${to%%:*}/$RANDOM$RANDOM
	mkdir -p "$box" && cp "${@:1:$#-1}" "$box/" && echo "${to#*:}" >"$box/.to"
}`)
	}
}

// deliver puts what scp has sent where it was to go.
func (s *scene) deliver(t *testing.T) {
	t.Helper()
	boxes, err := filepath.Glob(s.outbox + "/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range boxes {
		to, err := os.ReadFile(box + "/.to")
		if err != nil {
			t.Fatal(err)
		}
		s.must(t, filepath.Base(filepath.Dir(box)), fmt.Sprintf("(cd && cp %s/* %q)", box, cmp.Or(strings.TrimSpace(string(to)), ".")))
		if err := os.RemoveAll(box); err != nil {
			t.Fatal(err)
		}
	}
}

// at lists the hosts of a prompt.
func (s *scene) at(where string) []string {
	if where == "all" {
		return s.hosts
	}
	return []string{where}
}

// must runs what is no command of a document.
func (s *scene) must(t *testing.T, where, text string) {
	t.Helper()
	for _, name := range s.at(where) {
		began := time.Now()
		if out, err := s.shells[name].run(text); err != nil {
			t.Fatalf("%s$ %s: %v\n%s", name, text, err, out)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Logf("%4.1f s: %s$ %s", took.Seconds(), name, text)
		}
	}
}

// play runs the commands of a document in their order.
func (s *scene) play(t *testing.T, file string) {
	t.Helper()
	for _, c := range read(t, file).commands {
		began := time.Now()
		s.one(t, c)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Logf("%4.1f s: %s", took.Seconds(), c)
		}
	}
}

// one runs one command, or does what takes its place.
func (s *scene) one(t *testing.T, c command) {
	t.Helper()
	if e := exceptionFor(c); e != nil {
		if e.check != nil {
			e.check(t, s, c)
		}
		return
	}
	var wg sync.WaitGroup
	for _, name := range s.at(c.where) {
		sh := s.shells[name]
		if sh == nil {
			t.Fatalf("%s: there is no host %s here", c, name)
		}
		wg.Go(func() { sh.play(t, c) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	s.deliver(t)
	if created := made.FindStringSubmatch(c.text); created != nil && !c.refused() {
		s.arrive(t, created[1])
	}
}

// made finds the network in a command that makes one on all hosts.
var made = regexp.MustCompile(`^docker network create -d (?:weft|weft:latest) --ipam-driver .* ([a-z]+)$`)

// arrive waits until a network is on all hosts whose weft has its socket where a
// package's is, as nobody is quicker with the next command.
func (s *scene) arrive(t *testing.T, network string) {
	t.Helper()
	s.must(t, "all", fmt.Sprintf(`for i in $(seq 50); do
	[ ! -S /run/docker/plugins/weft.sock ] || docker network inspect %s >/dev/null 2>&1 || { sleep 0.1; continue; }
	break
done`, network))
}
