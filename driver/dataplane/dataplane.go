package dataplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-net/weft/driver/overlay"
)

// Options are what New needs to know. The zero value of all but Log is useful.
type Options struct {
	Log logrus.FieldLogger
	// NetnsDir is where namespaces are mounted; /run/netns by default, where
	// ip-netns(8) finds them too.
	NetnsDir string
	// HostNetns is the path of the namespace that stands for this host: the
	// tunnels' sockets, the ends that Docker takes and the border live
	// there. By default it is the process's own.
	HostNetns string
	// RepairAfter is how long a container's link must have been missing, in at
	// least two verifying passes, before it is made again inside the sandbox;
	// 5 s by default. Docker's own teardown of a sandbox is over by then.
	RepairAfter time.Duration
	// DockerNetns is where Docker keeps the namespaces of its own overlay;
	// /var/run/docker/netns by default.
	DockerNetns string
	// FastPath says whether packets may go around the devices; FastAuto by default.
	FastPath FastPath
	// Now tells the time; time.Now by default.
	Now func() time.Time
}

// Dataplane is the one door to the kernel. It remembers what it applied, so
// that small changes cost little, and nothing after a failure.
type Dataplane struct {
	log         logrus.FieldLogger
	dir         string
	dockerDir   string
	repairAfter time.Duration
	now         func() time.Time

	hostNS netns.NsHandle
	host   *handle // its requests lock themselves
	border borderKeeper

	arrived arrived
	spaces  spaces
	directs atomic.Pointer[Directs]

	mu           sync.Mutex         // one pass at a time; guards all below
	applied      map[string]applied // by network id
	surroundings surroundings
	ports        map[string]portMemory
	swept        bool
	refusal      ability
	fast         fast
}

// applied is what a pass left in the kernel for one network.
type applied struct {
	vtep    netip.Addr
	port    uint16
	config  overlay.NetworkConfig
	entries []entry
	flags   map[string]portFlags // of the bridge's ports, by link
}

// Report is what a pass found and did.
type Report struct {
	// Repairs counts what was not as it had been left although the
	// configuration had not changed; Repaired says what, one sentence each.
	Repairs  int
	Repaired []string
	// Failed gives the error of each network that is not as configured, by id.
	Failed map[string]error
	// Removed are the networks that were taken out of the kernel.
	Removed []string
}

// New opens the host's namespace. Nothing is changed in the kernel but that
// NetnsDir becomes a shared mount.
func New(o Options) (*Dataplane, error) {
	d := &Dataplane{
		log: o.Log, dir: o.NetnsDir, dockerDir: o.DockerNetns, repairAfter: o.RepairAfter, now: o.Now,
		applied: map[string]applied{}, ports: map[string]portMemory{},
	}
	if d.dir == "" {
		d.dir = "/run/netns"
	}
	if d.dockerDir == "" {
		d.dockerDir = "/var/run/docker/netns"
	}
	if d.repairAfter == 0 {
		d.repairAfter = 5 * time.Second
	}
	if d.now == nil {
		d.now = time.Now
	}
	path := o.HostNetns
	if path == "" {
		path = "/proc/self/ns/net"
	}
	if err := shareMounts(d.dir); err != nil {
		return nil, fmt.Errorf("share mounts of %s: %w; weft needs CAP_SYS_ADMIN and CAP_NET_ADMIN", d.dir, err)
	}
	var err error
	if d.hostNS, err = netns.GetFromPath(path); err != nil {
		return nil, fmt.Errorf("open the host's network namespace %s: %w", path, err)
	}
	d.border.ns = d.hostNS
	if d.host, err = openHandle(d.hostNS); err != nil {
		d.hostNS.Close()
		return nil, fmt.Errorf("open netlink in the host's network namespace: %w", err)
	}
	if err := d.openFast(o.FastPath); err != nil {
		d.host.close()
		d.hostNS.Close()
		return nil, err
	}
	return d, nil
}

// Close gives back the sockets. The kernel keeps what it has: traffic goes on, the slow
// way, since the weft that comes next may be one that does not keep the fast path's tables.
func (d *Dataplane) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.fast.plane != nil {
		err = errors.Join(d.fast.plane.Shut(), d.fast.plane.Close())
	}
	d.host.close()
	return errors.Join(err, d.hostNS.Close())
}

// Set makes the kernel hold cfg. Without verify, a network whose configuration
// is the one last applied is not looked at; with verify everything is read back
// and compared. One network's failure is in the report and does not stop the
// others; the error is about what concerns them all. After either the kernel
// holds some of cfg, and the next Set reads back whatever failed. Of a partial
// configuration everything is read back, and nothing else removed.
func (d *Dataplane) Set(ctx context.Context, cfg overlay.Config, verify bool) (Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	report := Report{Failed: map[string]error{}}
	var errs []error

	noBorder := d.setBorder(cfg, verify, &report)
	if noBorder != nil {
		errs = append(errs, noBorder, d.closeTunnels())
	}
	open := d.fastHost(cfg, verify, noBorder == nil)
	defer func() { d.fastEnd(cfg, open) }()

	for _, n := range cfg.Networks {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		old, known := d.applied[n.ID]
		known = known && old.vtep == cfg.VTEP && old.port == cfg.Port
		same := known && old.config.Equal(n)
		late := d.arrived.take(n.ID) && d.fast.late[n.ID]
		if same && !verify && noBorder == nil && !late {
			continue
		}
		if !known {
			old = applied{}
		}
		delete(d.applied, n.ID)
		now, fixed, err := d.setNetwork(ctx, cfg, n, old, verify, noBorder == nil, open)
		report.add(fixed)
		if err != nil {
			report.Failed[n.ID] = fmt.Errorf("network %s: %w", n.ID, err)
			continue
		}
		if !cfg.Partial && noBorder == nil { // what else is there is looked at once it is known to be nobody's
			d.applied[n.ID] = now
		}
	}
	if cfg.Partial {
		d.swept = false
		return report, errors.Join(errs...)
	}

	ends, err := d.removeOthers(ctx, cfg, &report)
	d.swept = err == nil
	errs = append(errs, err, d.sweepHost(cfg, ends))
	d.forgetPorts(cfg)
	if noBorder == nil && len(report.Failed) == 0 && cfg.VTEP.IsValid() {
		fixed, err := d.border.set(d.asFound(borderOf(cfg)), false, false)
		report.add(fixed)
		errs = append(errs, err)
	}
	return report, errors.Join(errs...)
}

// borderTries is how often the host's table is tried before the tunnels go down:
// somebody else may be changing rules at the same time.
const borderTries = 3

// setBorder makes the host's table, before any tunnel.
func (d *Dataplane) setBorder(cfg overlay.Config, verify bool, report *Report) (err error) {
	if !cfg.VTEP.IsValid() {
		return d.border.remove()
	}
	if err := d.lookAround(cfg, verify); err != nil { // what was seen last still holds, or nothing more is let in
		d.log.WithError(err).Debug("What is around the tunnels cannot be told at the moment.")
	}
	for range borderTries {
		var fixed []string
		fixed, err = d.border.set(d.wantBorder(cfg), cfg.Partial || !d.swept, verify)
		report.add(fixed)
		if err == nil {
			break
		}
	}
	return err
}

func (r *Report) add(fixed []string) {
	r.Repairs += len(fixed)
	r.Repaired = append(r.Repaired, fixed...)
}

// removeOthers takes every network out of the kernel that cfg does not have. One
// that cannot be is in the report. It gives the container ends that the removed
// networks had in the host's namespace.
func (d *Dataplane) removeOthers(ctx context.Context, cfg overlay.Config, report *Report) ([]netlink.Link, error) {
	ids, err := networksIn(d.dir)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, n := range cfg.Networks {
		wanted[n.ID] = true
	}
	for id := range d.applied {
		if !wanted[id] {
			delete(d.applied, id)
		}
	}
	var found []namespace
	for _, id := range ids {
		if wanted[id] {
			continue
		}
		ns, err := lookInto(d.namespacePath(id))
		switch {
		case err != nil:
			report.Failed[id] = fmt.Errorf("look at network %s, which this host does not need any more: %w", id, err)
		case ns.weft():
			ns.id = id
			found = append(found, ns)
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	ends, err := d.containerEnds(found)
	if err != nil {
		return nil, err
	}
	for _, ns := range found {
		if err := ctx.Err(); err != nil {
			return ends, err
		}
		// A namespace that is emptied frees its VNI at once and takes tens of
		// milliseconds. Many at once are better left to the kernel, which takes
		// dying namespaces down together.
		if err := d.removeNetwork(ns.id, len(found) <= explicitRemovals); err != nil {
			report.Failed[ns.id] = fmt.Errorf("remove network %s: %w", ns.id, err)
			continue
		}
		report.Removed = append(report.Removed, ns.id)
	}
	return ends, nil
}

// explicitRemovals is up to how many networks of one pass are emptied before
// their namespace is left to the kernel.
const explicitRemovals = 8

func (d *Dataplane) removeNetwork(id string, explicit bool) error {
	path := d.namespacePath(id)
	defer d.spaces.changed()
	if explicit {
		if err := d.emptyNamespace(path); err != nil {
			return err
		}
	}
	return dropNamespace(path)
}

// emptyNamespace deletes all devices of a network's namespace.
func (d *Dataplane) emptyNamespace(path string) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer ns.Close()
	h, err := openHandle(ns)
	if err != nil {
		return err
	}
	defer h.close()
	links, err := h.links()
	if err != nil {
		return err
	}
	delete(links, "lo")
	return h.removeAll(slices.Collect(maps.Values(links)))
}

// sweepHost deletes the container ends of removed networks that are left in the
// host's namespace and that no port wants.
func (d *Dataplane) sweepHost(cfg overlay.Config, ends []netlink.Link) error {
	wanted := map[string]bool{}
	for _, n := range cfg.Networks {
		for _, p := range n.Ports {
			wanted[overlay.ContainerLink(p.Endpoint)] = true
		}
	}
	return d.host.removeAll(slices.DeleteFunc(ends, func(l netlink.Link) bool { return wanted[l.Attrs().Name] }))
}
