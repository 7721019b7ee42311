package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver"
	"github.com/weft-net/weft/driver/arrival"
	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/dns"
	"github.com/weft-net/weft/driver/metrics"
	"github.com/weft-net/weft/driver/mirror"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
	"github.com/weft-net/weft/driver/probe"
	"github.com/weft-net/weft/driver/push"
	"github.com/weft-net/weft/driver/reconcile"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kvstore"
)

// verifyEvery is how often the whole kernel state is read back: what somebody
// deletes by hand is back within twice that.
const verifyEvery = 4 * time.Second

// repairAfter is how long a container's link must have been missing before it is made
// again. Docker takes less to take a sandbox down.
const repairAfter = 3 * time.Second

// daemon is `weft serve`: every part, and what must be closed after it.
type daemon struct {
	cfg     config
	log     *logrus.Logger
	started time.Time

	plugin, control net.Listener
	server          *plugin.Server
	cluster, state  kvstore.Store
	skipped         skipped.List // records of cluster that are passed over
	id              registry.Identity
	registry        *registry.Registry
	arrivals        *arrival.Arrivals
	push            *push.Push
	allocator       *ipam.Allocator
	kernel          *dataplane.Dataplane
	self            dataplane.Underlay // as it was at the start
	following       sync.Mutex         // held over followUnderlay
	found           dataplane.Underlay // guarded by following: as it was last; zero: unknown
	reconciler      *reconcile.Reconciler
	prober          *probe.Prober
	names           *dns.Server
	mirror          *mirror.Mirror // nil without Docker's API
	metrics         *metrics.Metrics
	scrapes         net.Listener   // nil without --metrics
	checks          sync.WaitGroup // of weft doctor
	closers         []func() error
}

// newDaemon builds all parts. The sockets come first: from then on Docker's
// calls wait for answers instead of failing.
func newDaemon(ctx context.Context, cfg config, log *logrus.Logger) (_ *daemon, err error) {
	d := &daemon{cfg: cfg, log: log, started: time.Now()}
	d.metrics = metrics.New(d.measure, log)
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	for _, step := range []func(context.Context) error{d.listen, d.openKernel, d.openStores, d.openRecords, d.openDrivers} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *daemon) onClose(f func() error) { d.closers = append(d.closers, f) }

// close takes everything down in reverse. The kernel keeps what it has.
func (d *daemon) close() {
	for _, closer := range slices.Backward(d.closers) {
		if err := closer(); err != nil && !errors.Is(err, net.ErrClosed) {
			d.log.WithError(err).Warn("Something could not be closed.")
		}
	}
}

// listen opens what others come to. Docker's socket is the last, so that whoever sees that
// weft serves Docker can ask it anything else too.
func (d *daemon) listen(ctx context.Context) (err error) {
	if d.control, err = plugin.Listen(ctx, d.cfg.Control); err != nil {
		return err
	}
	d.onClose(d.control.Close)
	if d.cfg.Metrics != "" {
		if d.scrapes, err = metrics.Listen(ctx, d.cfg.Metrics); err != nil {
			return err
		}
		d.onClose(d.scrapes.Close)
		if at, ok := d.scrapes.Addr().(*net.TCPAddr); ok && at.IP.IsUnspecified() {
			d.log.WithField("address", d.cfg.Metrics).Warnf("Metrics are served on all addresses of this host, where its containers can read them too; "+
				"serve them with --metrics 127.0.0.1:%d, or on an address that a firewall keeps for Prometheus.", at.Port)
		}
	}
	if d.plugin, err = plugin.Listen(ctx, d.cfg.Socket); err != nil {
		return err
	}
	d.onClose(d.plugin.Close)
	return nil
}

func (d *daemon) openKernel(context.Context) (err error) {
	if err := writableSysctls(); err != nil {
		return err
	}
	d.kernel, err = dataplane.New(dataplane.Options{
		Log: d.log, NetnsDir: netnsDir, RepairAfter: repairAfter, FastPath: dataplane.FastPath(d.cfg.FastPath),
	})
	if errors.Is(err, dataplane.ErrNoFastPath) {
		return &exitError{code: exitUsage, err: fmt.Errorf("--fast-path=on is refused: %w; leave it at auto to do without", err)}
	}
	if err != nil {
		return err
	}
	d.onClose(d.kernel.Close)
	return nil
}

func (d *daemon) readRecords(ctx context.Context) error {
	d.arrivals = arrival.New()
	var err error
	d.registry, err = registry.Open(ctx, registry.Config{
		Self: overlay.Host{
			Name: d.cfg.Host, VTEP: d.self.Addr, Port: d.cfg.Port, MTU: d.self.MTU, Version: version, Push: d.cfg.push(d.self.Addr),
		},
		Identity: d.id, Cluster: d.cluster, State: d.state, Alone: d.cfg.bolt != "", Reap: d.cfg.Reap, Log: d.log,
		Observe: registry.Observer{Applied: d.metrics.Applied, Returned: d.metrics.Returned}, Remains: d.kernel.Remains,
		Skipped: &d.skipped, Arrivals: d.arrivals,
	})
	if err != nil {
		return err
	}
	d.push = push.New(push.Config{Registry: d.registry.Direct(), Log: d.log})
	d.allocator, err = ipam.Open(ctx, ipam.Config{
		Host: d.cfg.Host, Incarnation: d.registry.Self().Incarnation,
		Cluster: d.cluster, State: d.state, Networks: d.registry.Claims(), Permits: d.registry.Claims(),
		Stock: d.cfg.Stock, Auto: d.cfg.pools, ULA: d.registry.Keyring().ULA, Routes: d.kernel.Routes,
		Lost: func(a netip.Addr, by string) {
			if err := d.registry.Lose(context.WithoutCancel(ctx), a, by); err != nil {
				d.log.WithError(err).Error("An endpoint could not be taken out; this is tried again.")
			}
		},
		Skipped: &d.skipped, Observe: d.metrics.Address, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.registry.SetAddresses(d.allocator)
	return nil
}

func (d *daemon) openDrivers(ctx context.Context) error {
	mtus := &mtus{log: d.log}
	planned := func() overlay.Snapshot {
		s := d.registry.Snapshot()
		mtus.note(s)
		return s
	}
	d.reconciler = reconcile.New(reconcile.Config{
		Kernel: kernel{d.kernel}, Snapshot: planned, Changes: d.registry.Changes, Version: d.registry.Version,
		Verify: verifyEvery, Log: d.log, Observe: d.metrics.Pass,
	})
	d.prober = d.newProber()
	d.server = plugin.NewServer(d.log, d.metrics.Call)
	driver.New(d.cfg.Name, d.registry, d.reconciler, d.allocator, d.dockerAPI, d.log).Register(d.server)
	ipam.NewDriver(d.allocator, d.log).Register(d.server)
	d.names = dns.New(dns.Config{
		Snapshot: d.registry.Snapshot, Changes: d.registry.Changes, Open: d.openSandbox,
		Observe: d.metrics.Query, Unread: d.metrics.Unread, Log: d.log,
	})
	if d.cfg.Docker == "" {
		return d.trustState(ctx)
	}
	d.mirror = mirror.New(mirror.Config{
		Registry: d.registry, Host: d.cfg.Docker, Driver: d.cfg.Name, IPAM: d.cfg.Name, Options: driver.ParseOptions, Keep: d.allocator.Keep, Missed: d.allocator.Missed, Log: d.log,
	})
	return nil
}

// dockerAPI is the version of Docker's API as it was last seen; "": not known.
func (d *daemon) dockerAPI() string {
	if d.mirror == nil {
		return ""
	}
	return d.mirror.Status().API
}

// run runs all tasks until ctx ends or one fails.
func (d *daemon) run(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var farewell atomic.Pointer[func(context.Context) error] // said to the store at the end; nil: nothing
	commands := control.New(d.view, d.log)
	commands.Serve(d.acts(func(say func(context.Context) error) {
		farewell.Store(&say)
		end()
	}))
	// The hosts in this one's records decide the underlay's MTU, as they did when it ran
	// last; so it is found before they hear of this host.
	d.followUnderlay(ctx)
	wait := startAll(ctx, d.tasks(commands), func(name string) {
		d.log.WithField("task", name).Debug("A task of weft's has ended.")
	})
	d.log.WithFields(logrus.Fields{
		"host": d.cfg.Host, "vtep": d.registry.Self().VTEP, "store": d.cfg.Store, "version": version,
	}).Info("weft serves Docker's calls.")
	// To systemd, which starts Docker now; without systemd it does nothing.
	if _, err := sd.SdNotify(true, sd.SdNotifyReady); err != nil {
		d.log.WithError(err).Warn("systemd could not be told that weft is ready.")
	}
	if err := wait(); err != nil {
		return err
	}
	say := farewell.Load()
	if say == nil {
		if err := d.registry.Departure().Rest(context.WithoutCancel(ctx)); err != nil {
			d.log.WithError(err).Warn("Other hosts will take this one for dead, and its containers are not reached from there until weft runs again.")
		}
		return nil
	}
	if err := (*say)(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return &exitError{code: exitLeft}
}

// acts are what a person may do to this host by commands. leave ends the daemon,
// which then tells the store what say does.
func (d *daemon) acts(leave func(say func(context.Context) error)) control.Acts {
	return control.Acts{
		Forget: d.registry.Forget,
		Leave: func(ctx context.Context, how control.Leaving) (control.Left, error) {
			left, err := d.mayLeave(ctx, how.Force)
			switch {
			case err != nil:
				return left, err
			case how.Purge:
				leave(d.purge)
			default:
				leave(d.retire)
			}
			return left, nil
		},
		Away: func(context.Context) error {
			d.registry.Departure().GoAway()
			leave(d.registry.Departure().Depart)
			return nil
		},
		RotateKeys: func(ctx context.Context) (control.Keys, error) {
			s, err := d.registry.Keyring().Rotate(ctx)
			return keysOf(s), err
		},
		LogLevel: d.setLogLevel, Doctor: d.examine,
	}
}

// passOn tells the registry when addresses have changed and the allocator when
// networks have, and finds the underlay anew when hosts have.
func (d *daemon) passOn(ctx context.Context) error {
	networks, stop := d.registry.Changes()
	defer stop()
	var peers []netip.Addr // for which the underlay's MTU was found last
	for {
		if now := d.registry.VTEPs(); !slices.Equal(now, peers) {
			peers = now
			d.followUnderlay(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.allocator.Changed():
			d.registry.AddressesChanged()
		case <-networks:
			d.allocator.Wake()
		}
	}
}

// kernel fits the data plane to the loop of passes.
type kernel struct{ *dataplane.Dataplane }

// Set implements reconcile.Kernel.
func (k kernel) Set(ctx context.Context, cfg overlay.Config, verify bool) (reconcile.Outcome, error) {
	report, err := k.Dataplane.Set(ctx, cfg, verify)
	return reconcile.Outcome{Repaired: report.Repaired, Failed: report.Failed}, err
}
