package store

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore/kvtest/consultest"
	"github.com/weft-net/weft/test/lab"
)

// newAddress is a server's that is none of the lab's, on the lab's underlay.
const newAddress = "198.51.100.5"

// newServer runs a server of a cluster of its own, and gives its URL.
func newServer(t *testing.T) string {
	t.Helper()
	binary, err := consultest.Binary()
	must(t, err)
	beside := cluster.Consul(3)
	address := []string{"dev", "eth0", fmt.Sprintf("%s/%d", newAddress, lab.Underlay.Bits())}
	if out, err := beside.Command(t.Context(), append([]string{"ip", "address", "add"}, address...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Not CommandContext's end: its context is over before the test's cleanups.
	ctx := context.WithoutCancel(t.Context())
	server := beside.Command(ctx, append([]string{
		binary, "agent", "-server", "-bootstrap-expect", "1", "-node", "new",
		"-bind", newAddress, "-client", newAddress, "-data-dir", filepath.Join(dir, "new"),
		"-serf-wan-port", "-1", "-dns-port", "-1", "-grpc-tls-port", "-1",
		"-hcl", "performance { raft_multiplier = 1 }",
	}, accessControl...)...)
	var said strings.Builder
	server.Stdout, server.Stderr = &said, &said
	must(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // how it was killed
		if t.Failed() {
			t.Logf("the new server's log:\n%s", said.String())
		}
		if out, err := beside.Command(ctx, append([]string{"ip", "address", "del"}, address...)...).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	url := "http://" + newAddress + ":8500"
	eventually(t, 20*time.Second, "the new server leads", func() error {
		out, err := request(t, http.MethodGet, url+"/v1/status/leader", nil)
		if err == nil && !strings.Contains(string(out), newAddress) {
			err = fmt.Errorf("it says %s", out)
		}
		return err
	})
	return url
}

// restartWith starts weft anew with more arguments, on one host after another.
func restartWith(ctx context.Context, args ...string) error {
	for _, h := range cluster.Hosts() {
		h.WeftArgs(args...)
		if err := h.Stop(ctx, lab.Weft); err != nil {
			return err
		}
		if err := h.Start(ctx, lab.Weft); err != nil {
			return err
		}
	}
	return nil
}

// move takes what the store has to another one, but for what is written after
// that, and tells the hosts of the other one.
func (s *scene) move(to func() string, args ...string) {
	s.t.Helper()
	snapshot, err := request(s.t, http.MethodGet, s.store()+"/v1/snapshot", nil)
	must(s.t, err)
	since := fmt.Sprintf("%s-since-%d", s.n, len(args))
	s.start("h1", since)
	s.published("h1", since)
	s.store = to
	_, err = request(s.t, http.MethodPut, s.store()+"/v1/snapshot", snapshot)
	must(s.t, err)
	must(s.t, restartWith(s.t.Context(), args...))
	s.published("h1", since)
	s.claims()
	s.claimsAgain("h3")
	s.names()
}

// Hosts that are told, one after another, of a store at another address, to
// which the data was moved but for what was written last, go on there as before.
func TestMoved(t *testing.T) {
	s := newScene(t)
	old, url := s.store, newServer(t)
	t.Cleanup(func() { // before the new server ends
		ctx := context.WithoutCancel(t.Context())
		for _, c := range cluster.Consuls() {
			must(t, c.Start(ctx))
		}
		if t.Failed() {
			must(t, restartWith(ctx))
		}
	})
	s.move(func() string { return url }, "--store=consul://"+newAddress+":8500")
	for _, c := range cluster.Consuls() {
		must(t, c.Kill(t.Context()))
	}
	s.start("h2", s.n+"-there")
	s.published("h2", s.n+"-there")
	for _, c := range cluster.Consuls() {
		must(t, c.Start(t.Context()))
	}
	s.move(old)
	s.survived()
}
