package networks

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// How much `make networks` does; `make hosts` does less.
var (
	count      = flag.Int("networks", 12, "how many networks are made and removed")
	tombstones = flag.Int("tombstones", 500, "how many the cluster has removed before")
)

var cluster *lab.Lab

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(lab.Main(lab.Config{Name: "networks", Hosts: 3}, func(_ context.Context, l *lab.Lab) int {
		cluster = l
		return m.Run()
	}))
}

// Networks whose removal was answered with success stay removed, on every host.
func TestNoneComesBack(t *testing.T) {
	bury(t, *tombstones)
	began := time.Now()
	var names []string
	for i := range *count {
		names = append(names, fmt.Sprint("n", i))
	}
	var refused atomic.Int64 // a store that is slow is told to the user, who tries again
	each(t, names, func(ctx context.Context, h *lab.Host, name string) error {
		for {
			_, err := h.Docker(ctx, "network", "create", "-d", "weft", "--ipam-driver", "weft", name)
			if err == nil || !strings.Contains(err.Error(), "try again") {
				return err
			}
			refused.Add(1)
		}
	})
	made := time.Since(began)
	labtest.Eventually(t, time.Minute, "all hosts have all networks", func() error { return have(t, len(names)) })
	began = time.Now()
	slices.Reverse(names) // so that hosts remove what others have made
	each(t, names, func(ctx context.Context, h *lab.Host, name string) error {
		_, err := h.Docker(ctx, "network", "rm", name)
		return err
	})
	removed := time.Since(began)
	back := settled(t)
	t.Logf("%d networks beside %d tombstones: made in %v (%d refused first), removed in %v, %d came back", len(names), *tombstones, made.Round(time.Millisecond), refused.Load(), removed.Round(time.Millisecond), len(back))
	if len(back) > 0 {
		t.Errorf("these were removed with success and are there: %s", strings.Join(back, ", "))
	}
}

// each does something for each network, on the hosts in turn, which all work at once.
func each(t *testing.T, names []string, do func(ctx context.Context, h *lab.Host, name string) error) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	hosts := cluster.Hosts()
	for i, h := range hosts {
		g.Go(func() error {
			for j := i; j < len(names); j += len(hosts) {
				if err := do(ctx, h, names[j]); err != nil {
					return fmt.Errorf("%s: %w", h.Name(), err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// listed gives weft's networks on the host.
func listed(t *testing.T, h *lab.Host) []string {
	t.Helper()
	return strings.Fields(labtest.Docker(t, h, "network", "ls", "--filter", "driver=weft", "--format", "{{.Name}}"))
}

func have(t *testing.T, n int) error {
	t.Helper()
	for _, h := range cluster.Hosts() {
		if got := listed(t, h); len(got) != n {
			return fmt.Errorf("%s has %d of %d", h.Name(), len(got), n)
		}
	}
	return nil
}

// settled waits until every host has been without a network for some looks, or for
// too long, and gives what there is.
func settled(t *testing.T) []string {
	t.Helper()
	var last []string
	calm := 0
	for end := time.Now().Add(30 * time.Second); calm < 4 && time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		last = nil
		for _, h := range cluster.Hosts() {
			for _, name := range listed(t, h) {
				last = append(last, name+" on "+h.Name())
			}
		}
		if calm++; len(last) > 0 {
			calm = 0
		}
	}
	return last
}

// perTxn is how many records go into one transaction of Consul's, which takes 64.
const perTxn = 60

// bury gives the cluster records of networks that were removed. Who sees a later change
// has read them.
func bury(t *testing.T, n int) {
	t.Helper()
	type op struct{ KV map[string]string }
	var ops []op
	flush := func() {
		if len(ops) == 0 {
			return
		}
		body, err := json.Marshal(ops)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cluster.Consul(1).Request(t.Context(), http.MethodPut, "/v1/txn", body); err != nil {
			t.Fatal(err)
		}
		ops = nil
	}
	for i := range n {
		gone := overlay.Network{
			ID: fmt.Sprintf("%012x", i+1), Name: fmt.Sprint("old", i), VNI: uint32(i + 1), Host: "h1", Version: 2,
			Subnets: []overlay.Subnet{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)}), 32)}},
			Created: time.Now().Add(-time.Hour), Deleted: time.Now(),
		}
		record, err := json.Marshal(gone)
		if err != nil {
			t.Fatal(err)
		}
		if ops = append(ops, op{map[string]string{"Verb": "set", "Key": "weft/net/" + gone.ID, "Value": base64.StdEncoding.EncodeToString(record)}}); len(ops) == perTxn {
			flush()
		}
	}
	flush()
}
