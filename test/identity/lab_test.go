package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore/bolt"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// cluster is the lab that the tests share: h1 and h2 run all the time and nothing
// may disturb them, h3 is what befalls a host, and h4 is the other machine, whose own
// weft is stopped.
var cluster *lab.Lab

const network = "net"

// copied is what became of the copy of h1 that runs beside it; see start.
var copied = make(chan string, 1)

func TestMain(m *testing.M) {
	os.Exit(lab.Main(lab.Config{Name: "identity", Hosts: 4}, func(ctx context.Context, l *lab.Lab) int {
		cluster = l
		if err := begin(ctx, l); err != nil {
			fmt.Fprintln(os.Stderr, "begin:", err)
			return 1
		}
		return m.Run()
	}))
}

// begin makes a network with a container on h1, h2 and h3, and stops h4's weft. The
// copy of h1 with the same machine-id waits for a lease to end, which takes long: it
// does so beside the tests.
func begin(ctx context.Context, l *lab.Lab) error {
	if _, err := l.Host("h1").Docker(ctx, "network", "create", "-d", "weft", "--ipam-driver", "weft", "--subnet", "10.90.0.0/24", network); err != nil {
		return err
	}
	for _, h := range l.Hosts()[:3] {
		for err := errors.New("not asked"); err != nil; {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if _, err = h.Docker(ctx, "network", "inspect", network); err != nil {
				time.Sleep(50 * time.Millisecond)
			}
		}
		if _, err := h.Docker(ctx, "run", "-d", "--name", h.Name(), "--network", network, "busybox", "sleep", "100000"); err != nil {
			return err
		}
	}
	h1, h4 := l.Host("h1"), l.Host("h4")
	if err := h4.Stop(ctx, lab.Weft); err != nil {
		return err
	}
	dir := filepath.Join(h4.Dir(), "same-id")
	if err := copyState(h1, dir); err != nil {
		return err
	}
	go func() {
		_, err := h4.Run(ctx, append(serving(h4, dir, "copy"), "--machine-id="+h1.Path("/etc/machine-id"))...)
		copied <- fmt.Sprint(err)
	}()
	return nil
}

func stateOf(h *lab.Host) string { return filepath.Join(h.Dir(), "weft", "state.db") }

// copyState copies a host's state to another directory, as the copy of a disk has it.
func copyState(h *lab.Host, dir string) error {
	text, err := os.ReadFile(stateOf(h))
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "state.db"), text, 0o600)
	}
	return err
}

// serving is a weft with a state of its own, and sockets of its own called so.
func serving(h *lab.Host, dir, sockets string, args ...string) []string {
	return slices.Concat([]string{
		"timeout", "60", "weft", "serve", "--control=unix:///run/" + sockets + "/weft.sock", "--store", storeURL(), "--advertise", h.Addr().String(),
		"--plugin-dir", "/run/" + sockets + "/plugins", "--docker", "unix:///run/docker.sock", "--state-dir", dir,
	}, args)
}

func storeURL() string { return fmt.Sprintf("consul://%s:8500", cluster.Consul(1).Addr()) }

// refused runs a weft with the state in dir, which must end by itself, within a
// while, with one sentence that has all the words. It gives the sentence.
func refused(t *testing.T, h *lab.Host, dir string, args []string, words ...string) string {
	t.Helper()
	before, state := keys(t), stateIn(t, dir)
	_, err := h.Run(t.Context(), serving(h, dir, "refused", args...)...)
	if err == nil {
		t.Fatalf("weft with %q was not refused", args)
	}
	sentence := said(t, err.Error(), words...)
	if after := keys(t); after != before {
		t.Errorf("weft with %q was refused, and has changed what the store has:\n%s\n%s", args, before, after)
	}
	if after := stateIn(t, dir); !reflect.DeepEqual(state, after) {
		t.Errorf("weft with %q was refused, and has changed its state from %q to %q", args, state, after)
	}
	return sentence
}

// said gives the sentence with which weft has ended, which must have all the words.
func said(t *testing.T, text string, words ...string) string {
	t.Helper()
	i := strings.LastIndex(text, "weft: ")
	if i < 0 {
		t.Fatalf("weft has ended without a sentence: %s", text)
	}
	sentence := strings.TrimSpace(text[i:])
	if strings.Contains(sentence, "\n") {
		t.Errorf("that is not one sentence: %s", sentence)
	}
	for _, word := range words {
		if !strings.Contains(sentence, word) {
			t.Errorf("%q does not say %q", sentence, word)
		}
	}
	t.Log(sentence)
	return sentence
}

// keys are the keys of hosts and addresses in the store, and of another cluster there.
func keys(t *testing.T) string {
	t.Helper()
	var out []string
	for _, prefix := range []string{"weft/host/", "weft/addr/", "theirs/"} {
		text, err := cluster.Consul(1).Request(t.Context(), "GET", "/v1/kv/"+prefix+"?keys", nil)
		if err != nil && !strings.Contains(err.Error(), "404") { // there are none
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	return strings.Join(out, "\n")
}

// stateIn is what the state in the directory has; nothing if there is none.
func stateIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	path := filepath.Join(dir, "state.db")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return out
	}
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pairs, _, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		out[p.Key] = string(p.Value)
	}
	return out
}

func address(t *testing.T, h *lab.Host, container string) netip.Addr {
	t.Helper()
	return netip.MustParseAddr(labtest.Docker(t, h, "inspect", "-f", "{{(index .NetworkSettings.Networks \""+network+"\").IPAddress}}", container))
}

// undisturbed starts to watch the container of a host, from one on h2, and gives what
// ends that: no packet may be lost, the address stays the same.
func undisturbed(t *testing.T, h *lab.Host) (end func()) {
	t.Helper()
	from := cluster.Host("h2")
	if h == from {
		from = cluster.Host("h1")
	}
	before := address(t, h, h.Name())
	stop := labtest.Pings(t, from, from.Name(), before)
	return func() {
		t.Helper()
		if sent, lost := stop(); lost > 0 || sent == 0 {
			t.Errorf("of %d packets to %s's container %d were lost", sent, h.Name(), lost)
		}
		if after := address(t, h, h.Name()); after != before {
			t.Errorf("%s's container has %v, and had %v", h.Name(), after, before)
		}
		if state := labtest.Docker(t, h, "inspect", "-f", "{{.State.Running}}", h.Name()); state != "true" {
			t.Errorf("%s's container does not run", h.Name())
		}
	}
}

func ctl(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// restart has weft end, does what befalls the host, and starts it with the arguments.
func restart(t *testing.T, h *lab.Host, between func(), args ...string) {
	t.Helper()
	ctl(t, h.Stop(t.Context(), lab.Weft))
	between()
	h.WeftArgs(args...)
	ctl(t, h.Start(t.Context(), lab.Weft))
}

// serves waits until the host's weft answers and may claim: a new container starts.
func serves(t *testing.T, h *lab.Host) netip.Addr {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())) + fmt.Sprint(time.Now().UnixNano())
	labtest.Eventually(t, 20*time.Second, h.Name()+" starts a container", func() error {
		_, err := h.Docker(t.Context(), "run", "-d", "--name", name, "--network", network, "busybox", "sleep", "100000")
		if err != nil {
			_, _ = h.Docker(t.Context(), "rm", "-f", name)
		}
		return err
	})
	t.Cleanup(func() { _, _ = h.Docker(context.WithoutCancel(t.Context()), "rm", "-f", name) })
	return address(t, h, name)
}

// distinct fails if an address is one of those that the cluster's containers have.
func distinct(t *testing.T, addrs ...netip.Addr) {
	t.Helper()
	seen := map[netip.Addr]string{}
	for _, h := range cluster.Hosts()[:3] {
		seen[address(t, h, h.Name())] = h.Name()
	}
	for i, a := range addrs {
		if by := seen[a]; by != "" {
			t.Errorf("%v was given out twice: %s has it", a, by)
		}
		seen[a] = fmt.Sprint("container ", i)
	}
}
