package dataplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
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
	// tunnels' sockets, the ends that Docker takes and the nftables guard live
	// there. By default it is the process's own.
	HostNetns string
	// RepairAfter is how long a container's link must have been missing, in at
	// least two verifying passes, before it is made again inside the sandbox;
	// 5 s by default. Docker's own teardown of a sandbox is over by then.
	RepairAfter time.Duration
	// Now tells the time; time.Now by default.
	Now func() time.Time
}

// Dataplane is the one door to the kernel. It remembers what it applied, so
// that small changes cost little, and nothing after a failure.
type Dataplane struct {
	log         logrus.FieldLogger
	dir         string
	repairAfter time.Duration
	now         func() time.Time

	hostNS netns.NsHandle
	host   *handle // its requests lock themselves

	mu      sync.Mutex         // one pass at a time; guards all below
	applied map[string]applied // by network id
	guard   *members           // what the host guard holds; nil if not known
	ports   map[string]portMemory
	swept   bool
}

// applied is what a pass left in the kernel for one network.
type applied struct {
	vtep    netip.Addr
	port    uint16
	config  overlay.NetworkConfig
	entries []entry
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
		log: o.Log, dir: o.NetnsDir, repairAfter: o.RepairAfter, now: o.Now,
		applied: map[string]applied{}, ports: map[string]portMemory{},
	}
	if d.dir == "" {
		d.dir = "/run/netns"
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
	if d.host, err = openHandle(d.hostNS); err != nil {
		d.hostNS.Close()
		return nil, fmt.Errorf("open netlink in the host's network namespace: %w", err)
	}
	return d, nil
}

// Close gives back the sockets. The kernel keeps what it has: traffic goes on.
func (d *Dataplane) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.host.close()
	return d.hostNS.Close()
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

	fixed, err := d.setMembers(cfg, verify)
	report.add(fixed)
	errs = append(errs, err)

	for _, n := range cfg.Networks {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		old, known := d.applied[n.ID]
		known = known && old.vtep == cfg.VTEP && old.port == cfg.Port
		same := known && old.config.Equal(n)
		if same && !verify {
			continue
		}
		if !known {
			old = applied{}
		}
		delete(d.applied, n.ID)
		now, fixed, err := d.setNetwork(ctx, cfg, n, old, verify)
		report.add(fixed)
		if err != nil {
			report.Failed[n.ID] = fmt.Errorf("network %s: %w", n.ID, err)
			continue
		}
		if !cfg.Partial { // what else is there is looked at once it is known to be nobody's
			d.applied[n.ID] = now
		}
	}
	if cfg.Partial {
		d.swept = false
		return report, errors.Join(errs...)
	}

	errs = append(errs, d.removeOthers(ctx, cfg, &report))
	if verify || !d.swept {
		err := d.sweepHost(cfg)
		d.swept = err == nil
		errs = append(errs, err)
	}
	d.forgetPorts(cfg)
	return report, errors.Join(errs...)
}

func (r *Report) add(fixed []string) {
	r.Repairs += len(fixed)
	r.Repaired = append(r.Repaired, fixed...)
}

// removeOthers takes every network out of the kernel that cfg does not have.
func (d *Dataplane) removeOthers(ctx context.Context, cfg overlay.Config, report *Report) error {
	ids, err := d.namespaces()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, n := range cfg.Networks {
		wanted[n.ID] = true
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return wanted[id] })
	var errs []error
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		delete(d.applied, id)
		// A namespace that is emptied frees its VNI at once and takes tens of
		// milliseconds. Many at once are better left to the kernel, which takes
		// dying namespaces down together.
		if err := d.removeNetwork(id, len(ids) <= explicitRemovals); err != nil {
			errs = append(errs, fmt.Errorf("remove network %s: %w", id, err))
			continue
		}
		report.Removed = append(report.Removed, id)
	}
	for id := range d.applied { // its namespace file is gone already
		if !wanted[id] {
			delete(d.applied, id)
		}
	}
	return errors.Join(errs...)
}

// explicitRemovals is up to how many networks of one pass are emptied before
// their namespace is left to the kernel.
const explicitRemovals = 8

func (d *Dataplane) removeNetwork(id string, explicit bool) error {
	path := d.namespacePath(id)
	if explicit && isNamespace(path) {
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

// sweepHost deletes container ends in the host's namespace that no port wants.
// Only veth links named as weft names them for one of Docker's endpoints count
// as weft's.
func (d *Dataplane) sweepHost(cfg overlay.Config) error {
	links, err := d.host.links()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, n := range cfg.Networks {
		for _, p := range n.Ports {
			wanted[overlay.ContainerLink(p.Endpoint)] = true
		}
	}
	var left []netlink.Link
	for name, l := range links {
		if _, veth := l.(*netlink.Veth); veth && overlay.IsContainerLink(name) && !wanted[name] {
			left = append(left, l)
		}
	}
	return d.host.removeAll(left)
}
