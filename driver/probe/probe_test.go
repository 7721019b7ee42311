package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/probe"
	"github.com/weft-net/weft/driver/reconcile"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/test/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a host with a kernel of its own and all of weft that a probe needs.
type host struct {
	t      *testing.T
	name   string
	ns     *netns.NS
	dir    string // of its networks' namespaces
	prober *probe.Prober
	reg    *registry.Registry
}

// newCluster makes three hosts on a switch with underlay 192.0.2.i or
// 2001:db8::i, which know each other.
func newCluster(t *testing.T, underlay string) []*host {
	t.Helper()
	store := registrytest.OpenStore(t, "cluster.db")
	sw := netns.New(t)
	var hosts []*host
	var ports []string
	for i := 1; i <= 3; i++ {
		h := &host{t: t, name: fmt.Sprintf("h%d", i), ns: netns.New(t), dir: t.TempDir()}
		ports = append(ports, "p"+h.name)
		netns.Link(h.ns, "eth0", sw, "p"+h.name)
		h.ns.Addr("eth0", fmt.Sprintf(underlay, i))
		h.run(netip.MustParsePrefix(fmt.Sprintf(underlay, i)).Addr(), store)
		hosts = append(hosts, h)
	}
	sw.Bridge("sw", ports...)
	for _, h := range hosts {
		for len(h.reg.Snapshot().Hosts) < 2 || !h.reg.HostStates()[0].Live || !h.reg.HostStates()[1].Live {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return hosts
}

func (h *host) run(vtep netip.Addr, store kvstore.Store) {
	h.t.Helper()
	log, _ := test.NewNullLogger()
	if testing.Verbose() {
		log = logrus.New()
		log.SetOutput(os.Stderr)
	}
	dp, err := dataplane.New(dataplane.Options{Log: log, NetnsDir: h.dir, HostNetns: h.ns.Path()})
	if err != nil {
		h.t.Fatal(err)
	}
	h.reg, err = registry.Open(h.t.Context(), registry.Config{
		Self:    overlay.Host{Name: h.name, VTEP: vtep, Port: 4789, MTU: 1500},
		Cluster: store, State: registrytest.OpenStore(h.t, h.name+".db"), Log: log.WithField("at", h.name),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.reg.SetAddresses(registrytest.NoAddresses{})
	if err := h.reg.Rebuilt(h.t.Context()); err != nil { // it is new, and has lost nothing
		h.t.Fatal(err)
	}
	loop := reconcile.New(reconcile.Config{
		Kernel: kernel{dp}, Snapshot: h.reg.Snapshot, Changes: h.reg.Changes, Verify: 4 * time.Second, Log: log.WithField("at", h.name),
	})
	h.prober = probe.New(probe.Config{
		Snapshot: h.reg.Snapshot, Changes: h.reg.Changes, Probe: h.reg.Probe, Probed: h.reg.Probed, Probing: h.reg.Probing, Store: store,
		Members: func() (out []probe.Member) {
			for _, s := range h.reg.HostStates() {
				out = append(out, probe.Member{Host: s.Host, Live: s.Live})
			}
			return out
		},
		Sync: func(ctx context.Context) error { return loop.Sync(ctx, overlay.ProbeNetwork) },
		Listen: func(ctx context.Context, at netip.AddrPort, checksums bool) (probe.PacketConn, error) {
			return dp.ListenProbe(ctx, at, checksums)
		},
		Log: log.WithField("at", h.name),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.reg.Run(ctx) })
	g.Go(func() error { return loop.Run(ctx) })
	g.Go(func() error { return h.prober.Run(ctx) })
	h.t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			h.t.Errorf("%s: %v", h.name, err)
		}
		if _, err := (kernel{dp}).Set(context.WithoutCancel(h.t.Context()), overlay.Config{}, true); err != nil {
			h.t.Errorf("%s: %v", h.name, err)
		}
		_ = dp.Close()
		for unix.Unmount(h.dir, unix.MNT_DETACH) == nil {
		}
	})
}

// one holds the kernels apart: the nftables library numbers its sets for the
// whole process, which elsewhere is one host.
var one sync.Mutex

// kernel fits the data plane to the loop of passes.
type kernel struct{ *dataplane.Dataplane }

// Set implements reconcile.Kernel.
func (k kernel) Set(ctx context.Context, cfg overlay.Config, verify bool) (reconcile.Outcome, error) {
	one.Lock()
	defer one.Unlock()
	report, err := k.Dataplane.Set(ctx, cfg, verify)
	return reconcile.Outcome{Repaired: report.Repaired, Failed: report.Failed}, err
}

// on applies rules to what comes to the host from the underlay, for the test.
func (h *host) on(rules string) {
	h.t.Helper()
	script := "table netdev probe_test {\nchain in {\ntype filter hook ingress device eth0 priority 0\n" + rules + "\n}\n}\n"
	h.nft(script)
	h.t.Cleanup(func() { h.nft("delete table netdev probe_test\n") })
}

func (h *host) nft(script string) {
	h.t.Helper()
	h.ns.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
}

// ask gives the paths that are not well, and those of which nothing is known.
func (h *host) ask() (unwell []probe.Path) {
	h.t.Helper()
	began := time.Now()
	paths, err := h.prober.Ask(h.t.Context())
	if err != nil || len(paths) != 6 {
		h.t.Fatalf("%s: %d paths, error %v", h.name, len(paths), err)
	}
	for _, p := range paths {
		if !p.Well() || p.Unknown != "" {
			unwell = append(unwell, p)
		}
	}
	h.t.Logf("%s asked for %s: %+v", h.name, time.Since(began).Round(time.Millisecond), unwell)
	return unwell
}

// wants fails unless exactly one path is unwell.
func wants(t *testing.T, unwell []probe.Path, want probe.Path) {
	t.Helper()
	if len(unwell) != 1 || unwell[0] != want {
		t.Errorf("unwell: %+v, want only %+v", unwell, want)
	}
}

var families = map[string]struct{ underlay, from string }{
	"IPv4": {"192.0.2.%d/24", "ip saddr 192.0.2.%d udp dport 4789"},
	"IPv6": {"2001:db8::%d/64", "ip6 saddr 2001:db8::%d udp dport 4789"},
}

// overhead is what VXLAN adds on the underlay, from its IP header on.
var overhead = map[string]int{"IPv4": 50, "IPv6": 70}

func TestPaths(t *testing.T) {
	for family, f := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			hosts := newCluster(t, f.underlay)
			h1, h2, h3 := hosts[0], hosts[1], hosts[2]
			mtu := 1500 - overhead[family]
			from := func(i int) string { return fmt.Sprintf(f.from, i) }

			if unwell := h1.ask(); len(unwell) > 0 {
				t.Errorf("nothing is wrong: %+v", unwell)
			}
			t.Run("cut one way, towards another host", func(t *testing.T) {
				h2.t = t
				h2.on(from(3) + " drop")
				wants(t, h1.ask(), probe.Path{From: "h3", To: "h2"})
			})
			t.Run("cut one way, towards the asker", func(t *testing.T) {
				h2.t = t
				h2.on(from(1) + " drop")
				wants(t, h2.ask(), probe.Path{From: "h1", To: "h2"})
			})
			t.Run("too large", func(t *testing.T) {
				h3.t = t
				h3.on(fmt.Sprintf("%s meta length > %d drop", from(1), 1400))
				wants(t, h1.ask(), probe.Path{From: "h1", To: "h3", Reached: true, MTU: mtu, Largest: 1400 - overhead[family]})
			})
			t.Run("damaged", func(t *testing.T) {
				h3.t = t
				h3.on(from(2) + " @th,640,16 set 0xdead") // in the beacon, behind UDP, VXLAN, Ethernet, IPv4 and UDP headers
				wants(t, h1.ask(), probe.Path{From: "h2", To: "h3", Reached: true, Full: true, Harmed: true})
			})
			t.Run("nothing is left", func(t *testing.T) {
				for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
					err := errors.Join(h1.leftover(), h2.leftover(), h3.leftover())
					if err == nil {
						return
					}
					if time.Now().After(end) {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// leftover says what is left of a probe.
func (h *host) leftover() error {
	files, err := os.ReadDir(h.dir)
	if err != nil || len(files) > 0 {
		return fmt.Errorf("%s: namespaces %v, error %w", h.name, files, err)
	}
	return nil
}

// Who first heard of the asker by the very request took that for an old one, as
// hosts do that begin together, and takes part all the same.
func TestARequestThatWasTakenForOld(t *testing.T) {
	hosts := newCluster(t, families["IPv4"].underlay)
	h1, h2 := hosts[0], hosts[1]
	last := h1.reg.Probe()
	h1.reg.Probed(last)
	h2.reg.Direct().Heard(peers.Beat{Host: "h1", Incarnation: h1.reg.Self().Incarnation, Number: 1, Probe: last + 2})
	if unwell := h1.ask(); len(unwell) > 0 {
		t.Errorf("nothing is wrong: %+v", unwell)
	}
}
