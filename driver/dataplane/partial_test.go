package dataplane_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A host that has lost its records gets them back one by one. Meanwhile nothing
// of what it had may go, and traffic does not notice.
func TestPartialConfigRemovesNothing(t *testing.T) {
	hosts := newHosts(t, 2)
	c := spread(t, hosts, true)
	h := hosts[0]
	before, full := h.kernel(), h.cfg
	done := make(chan string, 1)
	go func() {
		out, _ := run(c[0].ns, "ping", "-i", "0.01", "-c", "100", "-q", "10.9.0.2")
		done <- out
	}()
	h.restart()
	h.cfg.Networks, h.cfg.Partial = nil, true
	h.set()
	h.verify()
	if d := cmp.Diff(before, h.kernel()); d != "" {
		t.Errorf("nothing is known, and something was removed:\n%s", d)
	}
	some := full.Networks[0]
	some.Ports, some.Remotes, some.Flood, some.Members = some.Ports[1:], nil, nil, nil
	h.cfg.Networks = append(h.cfg.Networks, some)
	h.set()
	h.verify()
	if d := cmp.Diff(before, h.kernel()); d != "" {
		t.Errorf("some is known, and something was removed:\n%s", d)
	}
	if out := <-done; !strings.Contains(out, "100 packets transmitted, 100 received") {
		t.Errorf("packets were lost:\n%s", out)
	}
	h.cfg = full
	h.set()
	if d := cmp.Diff(before, h.kernel()); d != "" {
		t.Errorf("all is known, and something changed:\n%s", d)
	}
	h.cfg.Networks = nil
	if r := h.set(); len(r.Removed) != len(full.Networks) {
		t.Errorf("of %d networks that nobody wants, %q were removed", len(full.Networks), r.Removed)
	}
}
