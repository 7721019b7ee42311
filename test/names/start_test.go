package names

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// starts is how many containers the tests of starting start.
func starts(tb testing.TB) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("WEFT_STARTS"), "20"))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestFirstQueryOfAContainerIsAnswered(t *testing.T) {
	n := network(t, "first")
	ip := start(t, "h2", "target", "--network", n).ip(n)
	wrong := 0
	for range starts(t) {
		out, err := cluster.Host("h1").Docker(t.Context(), "run", "--rm", "--network", n, "busybox", "nslookup", "-type=a", "target.")
		if err != nil || !strings.Contains(out, ip) {
			wrong++
			t.Errorf("%v: %s", err, out)
		}
	}
	t.Logf("%d of %d first queries wrong", wrong, starts(t))
}

func TestAContainerIsFoundWhenItsStartReturns(t *testing.T) {
	n := network(t, "found")
	b := start(t, "h1", "asks", "--network", n)
	c := b.dial("udp4")
	defer c.Close()
	late := map[string][]time.Duration{}
	for i := range starts(t) {
		name := fmt.Sprint("new", i)
		docker(t, "h2", "run", "-d", "--name", name, "--network", n, "--network-alias", "alias-"+name, "busybox", "sleep", "1000")
		began := time.Now()
		for _, target := range []string{name, "alias-" + name} {
			eventually(t, 5*time.Second, target+" is found", func() error {
				if got := ask(c, target, dns.TypeA, time.Second); !strings.HasPrefix(got, "10.") {
					return fmt.Errorf("%s", got)
				}
				return nil
			})
			kind, _, _ := strings.Cut(target, "new")
			late[kind+"new"] = append(late[kind+"new"], time.Since(began))
		}
		docker(t, "h2", "rm", "-f", name)
	}
	for kind, all := range late {
		slices.Sort(all)
		p99 := all[len(all)*99/100]
		t.Logf("%s…: p50 %s, p99 %s after docker run returned", kind, all[len(all)/2], p99)
		if limit := 500 * time.Millisecond; p99 > limit {
			t.Errorf("%s…: p99 %s, want %s at most", kind, p99, limit)
		}
	}
}
