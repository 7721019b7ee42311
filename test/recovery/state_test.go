package recovery

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
	"github.com/weft-net/weft/test/lab"
)

// agreed is what the log says when the records are all back.
const agreed = "This host's records agree with what Docker has."

// damage is what can happen to a state file while weft is not running.
var damages = []struct {
	name   string
	damage func(t *testing.T, path string)
	kept   int // files that are kept aside
}{
	{"removed", func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}, 0},
	{"overwritten", func(t *testing.T, path string) {
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 100_000), 0o600); err != nil {
			t.Fatal(err)
		}
	}, 1},
	{"with a record that is none", func(t *testing.T, path string) {
		s, err := bolt.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "endpoint/x", Value: []byte("{")}); err != nil {
			t.Fatal(err)
		}
	}, 1},
}

// A host whose state is gone or damaged has it back within seconds, from
// Docker, the kernel and the cluster, and its containers do not notice.
func TestLostState(t *testing.T) {
	n := network(t)
	a, a2, b := container(t, "h1", n, "a"), container(t, "h1", n, "a2"), container(t, "h2", n, "b")
	h1 := cluster.Host("h1")
	time.Sleep(time.Second) // stock is filled
	for _, tt := range damages {
		t.Run(tt.name, func(t *testing.T) {
			before := logged(t, "h1", agreed)
			kept, _ := filepath.Glob(state("h1") + ".corrupt-*")
			out, in, local := a.pings(b), b.pings(a), a2.pings(a)
			time.Sleep(500 * time.Millisecond)
			if err := h1.Kill(t.Context(), lab.Weft); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, state("h1"))
			if err := h1.Start(t.Context(), lab.Weft); err != nil {
				t.Fatal(err)
			}
			early := container(t, "h2", n, fmt.Sprint("early-", before)) // while h1 does not know yet what it has
			if err := early.reaches(a); err != nil {
				t.Error(err)
			}
			eventually(t, 20*time.Second, "all records are back", func() error {
				if logged(t, "h1", agreed) <= before {
					return fmt.Errorf("the log does not say so")
				}
				return nil
			})
			time.Sleep(2 * time.Second) // some passes later
			for what, stop := range map[string]func() (int, int){"out of the host": out, "into the host": in, "within the host": local} {
				sent, lost := stop()
				t.Logf("%s: of %d packets, %d were lost", what, sent, lost)
				if lost > 2 {
					t.Errorf("%s: of %d packets, %d were lost", what, sent, lost)
				}
			}
			now, _ := filepath.Glob(state("h1") + ".corrupt-*")
			if len(now)-len(kept) != tt.kept {
				t.Errorf("files kept aside: %q", now)
			}
			if known := containers(t, "h1"); !known[a.name] || !known[a2.name] {
				t.Errorf("h1 knows %v, not all of its containers", known)
			}
			// And it is a host like any other.
			c := container(t, "h1", n, fmt.Sprint("after-", before))
			if c.ip == a.ip || c.ip == a2.ip || c.ip == b.ip {
				t.Errorf("%s has the address of another", c.name)
			}
			for _, to := range []box{a, b, early} {
				if err := c.reaches(to); err != nil {
					t.Error(err)
				}
			}
			docker(t, "h2", "exec", b.name, "ping", "-c1", "-W2", a.name)
		})
	}
	a.Remove()
	a2.Remove()
	eventually(t, 10*time.Second, "nothing is left on h1", func() error {
		if spaces := sh(t, "h1", "ls /run/netns | grep weft- || true"); spaces != "" {
			return fmt.Errorf("namespaces %s", spaces)
		}
		return nil
	})
}

// containers are the names of those that the host knows, of any host.
func containers(t *testing.T, host string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, e := range weft[[]struct{ Container string }](t, host, "endpoint", "ls") {
		out[e.Container] = true
	}
	return out
}
