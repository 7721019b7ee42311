// Package labtest has what tests of labs do again and again, each of which fails
// the test if it does not succeed.
package labtest

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/pulse"
)

// Docker runs a docker command on the host and gives what it prints.
func Docker(tb testing.TB, h *lab.Host, args ...string) string {
	tb.Helper()
	out, err := h.Docker(context.WithoutCancel(tb.Context()), args...)
	if err != nil {
		tb.Fatalf("%s$ docker %s: %v", h.Name(), strings.Join(args, " "), err)
	}
	return out
}

// DockerOn gives what runs a docker command on the host of that name of the lab that
// is there by then.
func DockerOn(l **lab.Lab) func(tb testing.TB, host string, args ...string) string {
	return func(tb testing.TB, host string, args ...string) string {
		tb.Helper()
		return Docker(tb, (*l).Host(host), args...)
	}
}

// Weft runs a weft command on the host and decodes its JSON. Its exit code does not
// matter: that of status tells what the JSON says.
func Weft[T any](tb testing.TB, h *lab.Host, args ...string) T {
	tb.Helper()
	out, ran := h.Run(context.WithoutCancel(tb.Context()), append(append([]string{"weft"}, args...), "--json")...)
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		tb.Fatalf("%s$ weft %s: %v: %q (%v)", h.Name(), strings.Join(args, " "), err, out, ran)
	}
	return v
}

// Logged counts the lines of the host's weft log with the text.
func Logged(tb testing.TB, h *lab.Host, text string) int {
	tb.Helper()
	log, err := os.ReadFile(h.Log(lab.Weft))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Count(string(log), text)
}

// Eventually waits for what other processes bring about, and gives how long it took.
// It asks again after as long as the answer took, but soon: who waits leaves a CPU to
// those it waits for.
func Eventually(tb testing.TB, limit time.Duration, what string, check func() error) time.Duration {
	tb.Helper()
	began := time.Now()
	var err error
	for time.Since(began) < limit {
		asked := time.Now()
		if err = check(); err == nil {
			took := time.Since(began)
			tb.Logf("after %s: %s", took.Round(100*time.Millisecond), what)
			return took
		}
		time.Sleep(min(max(time.Since(asked), 50*time.Millisecond), 250*time.Millisecond))
	}
	tb.Fatalf("not within %s: %s: %v", limit, what, err)
	return limit
}

// Pings sends 20 packets a second from the host's container to the address until
// the returned function is called, which tells how many were sent and how many of
// them have no answer. The container's namespace has to stay, dockerd need not.
func Pings(tb testing.TB, h *lab.Host, container string, to netip.Addr) func() (sent, lost int) {
	tb.Helper()
	netns := h.Path(Docker(tb, h, "inspect", "-f", "{{.NetworkSettings.SandboxKey}}", container))
	p, err := pulse.NewPings(netns, to, 50*time.Millisecond)
	if err != nil {
		tb.Fatalf("ping %s from %s of %s: %v", to, container, h.Name(), err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	end := func() { stop(); running.Wait() }
	tb.Cleanup(end)
	return func() (int, int) {
		end()
		return p.Sent(), p.Lost()
	}
}
