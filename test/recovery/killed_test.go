package recovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

const kills = 30

// killedAt is when the last kill was over, and commands how many of Docker's
// succeeded and failed in all.
var (
	killedAt time.Time
	commands [2]int32
)

// killed is a host whose weft is killed again and again while Docker makes and
// removes networks and containers. Any of Docker's commands may fail then.
var killed = &scene{name: "killed", host: "h6", over: make(chan error, 1), play: func(ctx context.Context, _ *lab.Lab, h *lab.Host) error {
	if err := furnish(ctx, h, "killed", "10.85.0.0/24"); err != nil {
		return err
	}
	var done atomic.Bool
	var succeeded, failed atomic.Int32
	var work sync.WaitGroup
	for i := range 2 {
		work.Go(func() {
			for round := 0; !done.Load(); round++ {
				n, c := fmt.Sprintf("killed-net-%d-%d", i, round%3), fmt.Sprintf("killed-box-%d-%d", i, round)
				for _, args := range [][]string{
					{"network", "create", "-d", "weft", "--ipam-driver", "weft", n},
					{"run", "-d", "--name", c, "--network", n, "busybox", "sleep", "100000"},
					{"network", "connect", "killed", c},
					{"rm", "-f", c},
					{"network", "rm", n},
				} {
					if _, err := h.Docker(ctx, args...); err != nil {
						failed.Add(1)
					} else {
						succeeded.Add(1)
					}
				}
			}
		})
	}
	defer work.Wait()
	defer done.Store(true)
	for range kills {
		// In the midst of a command, and not all of them of the same one, which
		// Docker repeats.
		before := succeeded.Load() + failed.Load()
		for wait := time.Now().Add(2 * time.Second); time.Now().Before(wait) && succeeded.Load()+failed.Load() == before; {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		if err := h.Kill(ctx, lab.Weft); err != nil {
			return err
		}
		if err := h.Start(ctx, lab.Weft); err != nil {
			return err
		}
	}
	killedAt = time.Now()
	done.Store(true)
	work.Wait()
	commands = [2]int32{succeeded.Load(), failed.Load()}
	return nil
}}

// Whenever weft is killed, what was half done is finished or undone in the end:
// no network, container, address or link is left that Docker does not have, and
// what ran all along did not notice.
func TestKilledAtAnyMoment(t *testing.T) {
	h6 := killed.end(t)
	out, err := h6.Docker(t.Context(), "ps", "-aq", "--filter", "name=killed-box")
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Fields(out)
	for _, c := range left {
		docker(t, "h6", "rm", "-f", c)
	}
	out, err = h6.Docker(t.Context(), "network", "ls", "-q", "--filter", "name=killed-net")
	if err != nil {
		t.Fatal(err)
	}
	networks := strings.Fields(out)
	for _, n := range networks {
		docker(t, "h6", "network", "rm", n)
	}
	t.Logf("during %d kills, %d commands succeeded and %d failed; %d containers and %d networks were left", kills, commands[0], commands[1], len(left), len(networks))
	if commands[0] < kills/3 {
		t.Error("too few commands succeeded to say anything")
	}
	asks := container(t, "h2", killed.name, "asks")
	if err := asks.Ping(killed.name); err != nil {
		t.Error(err)
	}
	// weft doubts no endpoint and no network that is not a minute old.
	eventually(t, max(10*time.Second, time.Until(killedAt.Add(120*time.Second))), "nothing else is left", func() error {
		for _, host := range []string{"h1", "h6"} {
			for _, e := range weft[[]struct{ Container, Network, Host string }](t, host, "endpoint", "ls") {
				if e.Host == "h6" && e.Container != killed.name {
					return fmt.Errorf("%s has endpoint %+v", host, e)
				}
			}
			for _, n := range weft[[]struct{ Name, ID, State, Why string }](t, host, "network", "ls") {
				if n.Name == "" || strings.HasPrefix(n.Name, "killed-") {
					return fmt.Errorf("%s has network %+v", host, n)
				}
			}
		}
		if spaces := strings.Fields(sh(t, "h6", "ls /run/netns | grep weft- || true")); len(spaces) != 1 {
			return fmt.Errorf("namespaces %v", spaces)
		}
		if links := sh(t, "h6", "ls /sys/class/net | grep -E '^w[cp]' || true"); links != "" {
			return fmt.Errorf("links %s", links)
		}
		return nil
	})
}
