package dataplane_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/overlay"
)

// What waits for a container is told when Docker has brought its link up, and not
// before: not by the network's namespace, nor by the pair.
func TestACarrierIsToldWhenTheContainersLinkIsUp(t *testing.T) {
	h := newHosts(t, 1)[0]
	p := port("net1", "comes", "10.9.0.50/24")
	var up atomic.Bool
	early, done := make(chan error, 1), make(chan error, 1)
	wait := func() error {
		err := h.dp.AwaitCarrier(t.Context(), "net1", p.Endpoint)
		if err == nil && !up.Load() {
			err = errors.New("the container's link is down")
		}
		return err
	}
	go func() { early <- wait() }() // before there is a namespace
	h.cfg.Networks = []overlay.NetworkConfig{{ID: "net1", VNI: 4097, MTU: 1450, Guarded: true, Ports: []overlay.Port{p}}}
	h.set()
	go func() { done <- wait() }()
	h.ns.Netlink(func(nl *netlink.Handle) error { // another change of the link
		l, err := nl.LinkByName(overlay.ContainerLink(p.Endpoint))
		if err != nil {
			return err
		}
		return nl.LinkSetMTU(l, 1400)
	})
	select {
	case err := <-early:
		t.Fatalf("told before the link is up: %v", err)
	case err := <-done:
		t.Fatalf("told before the link is up: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	up.Store(true)
	h.fetch(p)
	for _, told := range []chan error{early, done} {
		isTold(t, told)
	}
	if err := wait(); err != nil {
		t.Errorf("of a link that is up: %v", err)
	}
}

// Whoever is expected while the network's last container goes comes to another namespace
// than the one that is there.
func TestACarrierInTheNamespaceThatComesNextIsTold(t *testing.T) {
	h := newHosts(t, 1)[0]
	networks := func(ports ...overlay.Port) []overlay.NetworkConfig {
		return []overlay.NetworkConfig{{ID: "net1", VNI: 4097, MTU: 1450, Guarded: true, Ports: ports}}
	}
	h.cfg.Networks = networks(port("net1", "goes", "10.9.0.49/24"))
	h.set()
	p := port("net1", "comes", "10.9.0.50/24")
	told := make(chan error, 1)
	go func() { told <- h.dp.AwaitCarrier(t.Context(), "net1", p.Endpoint) }()
	time.Sleep(50 * time.Millisecond) // it waits
	h.cfg.Networks = nil
	h.set()
	h.cfg.Networks = networks(p)
	h.set()
	h.fetch(p)
	isTold(t, told)
}

// isTold waits until whoever waits for a link that is up is told so.
func isTold(t *testing.T, told <-chan error) {
	t.Helper()
	select {
	case err := <-told:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(soon):
		t.Fatal("the link is up, and nobody is told")
	}
}

func TestAWaitForACarrierEnds(t *testing.T) {
	h := newHosts(t, 1)[0]
	p := port("net1", "comes", "10.9.0.50/24")
	for _, made := range []bool{false, true} {
		if made {
			h.cfg.Networks = []overlay.NetworkConfig{{ID: "net1", VNI: 4097, MTU: 1450, Guarded: true, Ports: []overlay.Port{p}}}
			h.set()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := h.dp.AwaitCarrier(ctx, "net1", p.Endpoint); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a namespace (%t): %v", made, err)
		}
		cancel()
	}
	// Nothing is held any more: the namespace goes with its network.
	h.cfg.Networks = nil
	h.set()
	if _, err := os.Stat(h.path("net1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the namespace is left: %v", err)
	}
}
