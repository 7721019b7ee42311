package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/reconcile"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/test/netns"
)

// passes counts the passes that read everything back.
type passes struct{ all, verifying atomic.Int32 }

func (p *passes) Set(_ context.Context, _ overlay.Config, verify bool) (reconcile.Outcome, error) {
	if verify {
		p.verifying.Add(1)
	}
	p.all.Add(1)
	return reconcile.Outcome{}, nil
}

// Other people's links bring no pass, however many; a change of the underlay
// brings one at once.
func TestOnlyTheUnderlayBringsAPass(t *testing.T) {
	log, _ := test.NewNullLogger()
	host, far := netns.New(t), netns.New(t)
	netns.Link(host, "eth0", far, "eth0")
	host.Addr("eth0", "192.0.2.1/24")
	dir := t.TempDir() // becomes a mount
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	kernel, err := dataplane.New(dataplane.Options{Log: log, NetnsDir: dir, HostNetns: host.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	d := &daemon{cfg: config{Advertise: "eth0"}, log: log, kernel: kernel, state: registrytest.OpenStore(t, "state.db")}
	if d.self, err = d.underlay(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.found = d.self
	d.registry, err = registry.Open(t.Context(), registry.Config{
		Self:    overlay.Host{Name: "h1", VTEP: d.self.Addr, Port: 4789, MTU: d.self.MTU},
		Cluster: registrytest.OpenStore(t, "cluster.db"), State: d.state, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	var counted passes
	d.reconciler = reconcile.New(reconcile.Config{
		Kernel: &counted, Snapshot: func() overlay.Snapshot { return overlay.Snapshot{} },
		Changes: func() (<-chan struct{}, func()) { return nil, func() {} }, Verify: time.Hour, Log: log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	var looks atomic.Int32
	go func() { ended <- d.reconciler.Run(ctx) }()
	go func() { ended <- kernel.Watch(ctx, func() { d.followUnderlay(ctx); looks.Add(1) }) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	eventually := func(what string, ok func() bool) {
		t.Helper()
		const limit = 30 * time.Second // the kernel's lock of links is held long where many namespaces go
		for deadline := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not within %v: %s", limit, what)
			}
		}
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("nsenter", append([]string{"--net=" + host.Path(), "ip"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v\n%s", args, err, out)
		}
	}
	eventually("the first pass", func() bool { return counted.verifying.Load() == 1 })
	host.Bridge("docker_gwbridge")
	eventually("the watch", func() bool {
		host.Up("docker_gwbridge")
		ip("link", "set", "docker_gwbridge", "down")
		return looks.Load() > 0
	})

	for i := range 20 {
		before := looks.Load()
		veth := fmt.Sprint("veth", i)
		ip("link", "add", veth, "type", "veth", "peer", "name", fmt.Sprint("peer", i))
		ip("link", "set", veth, "master", "docker_gwbridge", "up")
		eventually("a look", func() bool { return looks.Load() > before })
	}
	// A pass that was asked for would have come with this one at the latest.
	if err := d.reconciler.Sync(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if n := counted.verifying.Load(); n != 1 {
		t.Errorf("%d passes read everything back for other people's links", n-1)
	}

	change := func(what string, f func(), want dataplane.Underlay) {
		t.Helper()
		before := counted.verifying.Load()
		f()
		eventually(what, func() bool {
			self := d.registry.Self()
			return counted.verifying.Load() > before && self.VTEP == want.Addr && self.MTU == want.MTU
		})
	}
	change("another MTU", func() { ip("link", "set", "eth0", "mtu", "1400") },
		dataplane.Underlay{Addr: netip.MustParseAddr("192.0.2.1"), MTU: 1400})
	change("another address", func() {
		ip("address", "add", "192.0.2.7/32", "dev", "eth0")
		ip("address", "del", "192.0.2.1/24", "dev", "eth0")
	}, dataplane.Underlay{Addr: netip.MustParseAddr("192.0.2.7"), MTU: 1400})
	change("an IPsec policy", func() {
		ip("xfrm", "policy", "add", "dst", "198.51.100.7", "dir", "out", "tmpl", "proto", "esp", "mode", "transport")
	}, dataplane.Underlay{Addr: netip.MustParseAddr("192.0.2.7"), MTU: 1400})
}
