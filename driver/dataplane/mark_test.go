package dataplane_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// What is not weft's is left alone, whatever its name, and disturbs no network.
func TestWhatOnlyHasSuchANameIsLeftAlone(t *testing.T) {
	h := newHosts(t, 1)[0]
	h.cfg.Networks = []overlay.NetworkConfig{{ID: "net1", VNI: 4097, MTU: 1450, Guarded: true, Ports: []overlay.Port{port("net1", "c1", "10.9.0.1/24")}}}
	h.set()
	router := netns.NewAt(t, filepath.Join(h.dir, "weft-router"))
	must(t, router, "ip", "link", "add", "wan0", "type", "bridge")
	empty := netns.NewAt(t, filepath.Join(h.dir, "weft-empty"))
	if err := os.MkdirAll(filepath.Join(h.dir, "weft-backup", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "weft-notes"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	// A pair with such names whose ends are both the host's.
	must(t, h.ns, "ip", "link", "add", "wc0123456789ab", "type", "veth", "peer", "name", "wp0123456789ab")
	theirs := func() string {
		return must(t, router, "ip", "link", "show", "wan0") + must(t, empty, "ip", "link") + must(t, h.ns, "ip", "link", "show", "wc0123456789ab")
	}
	before := theirs()
	for _, restart := range []bool{false, true} {
		if restart {
			h.restart()
		}
		if r := h.set(); len(r.Removed) != 0 {
			t.Errorf("removed %q", r.Removed)
		}
		h.verify()
	}
	h.cfg.Networks = nil
	if r := h.set(); len(r.Removed) != 1 {
		t.Errorf("removed %q, not the one network", r.Removed)
	}
	if after := theirs(); after != before {
		t.Errorf("others' things were\n%sand are\n%s", before, after)
	}
	for _, name := range []string{"weft-backup/x", "weft-notes"} {
		if _, err := os.Stat(filepath.Join(h.dir, name)); err != nil {
			t.Error(err)
		}
	}
	if ids, err := h.dp.Networks(); err != nil || len(ids) != 0 {
		t.Errorf("networks of weft's: %q, %v", ids, err)
	}
}

// A network whose namespace is somebody else's fails alone, and says why.
func TestANamespaceOfSomebodyElseIsNotTaken(t *testing.T) {
	h := newHosts(t, 1)[0]
	router := netns.NewAt(t, filepath.Join(h.dir, "weft-router"))
	must(t, router, "ip", "link", "add", "wan0", "type", "bridge")
	h.cfg.Networks = []overlay.NetworkConfig{{ID: "net1", VNI: 4097, MTU: 1450, Guarded: true}, {ID: "router", VNI: 4098, MTU: 1450, Guarded: true}}
	r, err := h.dp.Set(t.Context(), h.cfg, false)
	if err != nil || len(r.Failed) != 1 || r.Failed["router"] == nil {
		t.Fatalf("failed: %v, %v", r.Failed, err)
	}
	if text := r.Failed["router"].Error(); !strings.Contains(text, "weft-router") || !strings.Contains(text, "not weft's") || strings.Contains(text, "\n") {
		t.Errorf("the error is %q", text)
	}
	if out := must(t, router, "ip", "-o", "link"); strings.Contains(out, overlay.Bridge) {
		t.Errorf("it was changed: %s", out)
	}
}

// A namespace of a weft before marks is weft's by its links, and gets the mark.
func TestANamespaceWithoutAMarkIsTaken(t *testing.T) {
	h := newHosts(t, 1)[0]
	h.cfg = states()["two networks"]
	h.set()
	unmark := func() {
		for _, n := range h.cfg.Networks {
			netns.In(t, h.path(n.ID), func(ns *netns.NS) {
				must(t, ns, "ip", "link", "set", "lo", "alias", "")
			})
		}
	}
	unmark()
	h.restart()
	h.set()
	netns.In(t, h.path("alpha"), func(ns *netns.NS) {
		if out := must(t, ns, "ip", "link", "show", "lo"); !strings.Contains(out, "alias weft network alpha") {
			t.Errorf("it has no mark: %s", out)
		}
	})
	unmark()
	h.restart()
	h.cfg.Networks = nil
	if r := h.set(); len(r.Removed) != 2 {
		t.Errorf("removed %q", r.Removed)
	}
}
