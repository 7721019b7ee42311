package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// root is the token that may do everything.
const root = "00000000-0000-4000-8000-000000000001"

// accessControl has a server ask for tokens.
var accessControl = []string{
	"-hcl", `primary_datacenter = "dc1"`,
	"-hcl", `acl { enabled = true  default_policy = "deny"  tokens { initial_management = "` + root + `" } }`,
}

var (
	cluster *lab.Lab
	dir     string // has the token's file and the servers' limits
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if dir, err = os.MkdirTemp("/var/tmp", "weft-store-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	setToken(root)
	setLimits(0)
	return lab.Main(lab.Config{
		Name: "store", Hosts: 3, Consuls: 3,
		Env:        []string{"CONSUL_HTTP_TOKEN_FILE=" + filepath.Join(dir, "token")},
		ConsulArgs: append([]string{"-config-file", filepath.Join(dir, "limits.hcl")}, accessControl...),
	}, func(_ context.Context, l *lab.Lab) int {
		cluster = l
		return m.Run()
	})
}

// setToken is what weft identifies itself with from its next start on.
func setToken(secret string) { write("token", secret) }

// setLimits is how many reads and writes a second each server takes; 0: all.
func setLimits(rate int) {
	mode := "enforcing"
	if rate == 0 {
		mode, rate = "disabled", 1
	}
	write("limits.hcl", fmt.Sprintf(`limits { request_limits { mode = %q  read_rate = %d  write_rate = %d } }`, mode, rate, rate))
}

func write(name, text string) {
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		panic(err)
	}
}

// docker runs a docker command that must succeed.
var docker = labtest.DockerOn(&cluster)

// must fails the test for an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what other processes bring about.
var eventually = labtest.Eventually

// consul makes a request of a server's API as root.
func consul(t *testing.T, i int, method, path string, body []byte) ([]byte, error) {
	t.Helper()
	return request(t, method, cluster.Consul(i).URL()+path, body)
}

// request makes a request of any server's API as root.
func request(t *testing.T, method, url string, body []byte) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	must(t, err)
	r.Header.Set("X-Consul-Token", root)
	return cluster.Consul(1).Do(r)
}

// leader is the number of the leading server.
func leader(t *testing.T) int {
	t.Helper()
	found := 0
	err := fmt.Errorf("not asked")
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err = func() error {
			for i, c := range cluster.Consuls() {
				if !c.Running() {
					continue
				}
				out, err := consul(t, i+1, http.MethodGet, "/v1/status/leader", nil)
				if err != nil {
					return err
				}
				for j, l := range cluster.Consuls() {
					if strings.Contains(string(out), l.Addr().String()+":") {
						found = j + 1
						return nil
					}
				}
			}
			return fmt.Errorf("there is none")
		}()
	}
	must(t, err)
	return found
}

// status is what weft says of itself.
type status struct {
	Problems []string
	Store    struct{ Reachable bool }
	Counts   struct{ Duplicates int }
}

func weft(t *testing.T, host string) status {
	t.Helper()
	return labtest.Weft[status](t, cluster.Host(host), "status")
}

// logged counts the lines of all hosts' weft logs with the text.
func logged(t *testing.T, text string) int {
	t.Helper()
	n := 0
	for _, h := range cluster.Hosts() {
		n += labtest.Logged(t, h, text)
	}
	return n
}

// scene is a network with a container on each host that others ping.
type scene struct {
	t     *testing.T
	n     string
	ips   map[string]string // by host
	stops []func() (sent, lost int)
	downs int           // hosts that were declared down before
	store func() string // the URL of a server that has what weft's hosts have published
}

const isDown = "A host is down"

func newScene(t *testing.T, args ...string) *scene {
	t.Helper()
	s := &scene{t: t, n: strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), ips: map[string]string{}, downs: logged(t, isDown)}
	s.store = func() string { return cluster.Consul(leader(t)).URL() }
	docker(t, "h1", append([]string{"network", "create", "-d", "weft", "--ipam-driver", "weft", s.n}, args...)...)
	for _, h := range cluster.Hosts() {
		labtest.Mirrored(t, 10*time.Second, s.n, h)
		s.ips[h.Name()] = s.start(h.Name(), s.box(h.Name()))
	}
	t.Cleanup(s.remove)
	for from, to := range map[string]string{"h1": "h2", "h2": "h3", "h3": "h1"} {
		s.stops = append(s.stops, labtest.Pings(t, cluster.Host(from), s.box(from), netip.MustParseAddr(s.ips[to])))
	}
	return s
}

func (s *scene) box(host string) string { return s.n + "-" + host }

// start runs a container and gives its address.
func (s *scene) start(host, name string) string {
	s.t.Helper()
	docker(s.t, host, s.line(name)...)
	return s.address(host, name)
}

// address is what Docker says that the container has.
func (s *scene) address(host, name string) string {
	s.t.Helper()
	return docker(s.t, host, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", s.n), name)
}

// line is the command that runs a container.
func (s *scene) line(name string) []string {
	return []string{"run", "-d", "--name", name, "--label", "scene=" + s.n, "--network", s.n, "busybox", "sleep", "100000"}
}

func (s *scene) remove() {
	ctx := context.WithoutCancel(s.t.Context())
	for _, h := range cluster.Hosts() {
		if err := h.RemoveContainers(ctx, "label=scene="+s.n); err != nil {
			s.t.Error(err)
		}
	}
	if _, err := cluster.Host("h1").Docker(ctx, "network", "rm", s.n); err != nil {
		s.t.Error(err)
	}
}

// names says whether every container finds every other by its name.
func (s *scene) names() {
	s.t.Helper()
	for from := range s.ips {
		for to := range s.ips {
			if from != to {
				docker(s.t, from, "exec", s.box(from), "ping", "-c1", "-W2", s.box(to))
			}
		}
	}
}

// survived ends the scene: nothing was lost, all is as it should be.
func (s *scene) survived() {
	s.t.Helper()
	s.names()
	for _, stop := range s.stops {
		sent, lost := stop()
		s.t.Logf("of %d packets, %d were lost", sent, lost)
		if lost > 0 || sent < 10 {
			s.t.Errorf("of %d packets, %d were lost", sent, lost)
		}
	}
	if n := logged(s.t, isDown) - s.downs; n > 0 {
		s.t.Errorf("hosts were declared down %d times", n)
	}
	want := ""
	for _, h := range cluster.Hosts() {
		eventually(s.t, 10*time.Second, h.Name()+" says that all is well", func() error {
			if st := weft(s.t, h.Name()); len(st.Problems) > 0 || st.Counts.Duplicates > 0 {
				return fmt.Errorf("%d duplicates, %q", st.Counts.Duplicates, st.Problems)
			}
			return nil
		})
		got := docker(s.t, h.Name(), "network", "ls", "--filter", "driver=weft", "--format", "{{.Name}}")
		if want == "" {
			want = got
		}
		if got != want {
			s.t.Errorf("networks on %s: %q, on h1: %q", h.Name(), got, want)
		}
	}
}

// published says how long after the call the store has the container. On a busy machine
// the host's requests are as slow as the test's own: there are some ten of them.
func (s *scene) published(host, name string) {
	s.t.Helper()
	began, store := time.Now(), s.store()
	var slowest time.Duration // of the requests
	eventually(s.t, 10*time.Second, host+"'s "+name+" is in the store", func() error {
		asked := time.Now()
		out, err := request(s.t, http.MethodGet, store+"/v1/kv/weft/at/"+host+"/?recurse", nil)
		if err != nil {
			return err
		}
		slowest = max(slowest, time.Since(asked))
		var pairs []struct{ Value []byte }
		if err := json.Unmarshal(out, &pairs); err != nil {
			return err
		}
		for _, p := range pairs {
			if strings.Contains(string(p.Value), `"`+name+`"`) {
				return nil
			}
		}
		return fmt.Errorf("it is not")
	})
	if took := time.Since(began); took > 2*time.Second+10*slowest {
		s.t.Errorf("%s's %s was published %v after the store's return, and a request took %v at most", host, name, took, slowest)
	}
}
