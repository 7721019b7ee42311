package fastpath

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// Plane is the fast path of one host. It has no lock: one pass at a time uses it.
type Plane struct {
	spec     *ebpf.CollectionSpec
	objects  programsObjects
	tcx      bool // the kernel has it
	host     Host
	takes    time.Duration       // as written last, see struct host of bpf/fastpath.c
	networks map[uint32]*network // by VNI
}

// Host is what all networks of a host share.
type Host struct {
	VTEP   netip.Addr  // source of the tunnels; only IPv4 is taken the fast way
	Port   uint16      // VXLAN UDP port
	Uplink int         // index of the underlay's interface in the host's namespace
	MAC    overlay.MAC // of the uplink: source of what goes without a tunnel
}

// afterglow is how long packets without a tunnel are taken after the fast path was shut.
// Those who send them have a lease each, which is much shorter.
const afterglow = 10 * time.Second

// Open loads the programs that all networks share. Nothing is attached yet. The error
// says what the kernel lacks.
func Open() (*Plane, error) {
	spec, err := loadPrograms()
	if err != nil {
		return nil, fmt.Errorf("read the programs of the fast path: %w", err)
	}
	p := &Plane{spec: spec, networks: map[uint32]*network{}}
	if p.tcx, err = able(); err != nil {
		return nil, err
	}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return nil, fmt.Errorf("load the programs of the fast path: %w", lacking(err))
	}
	if err := try(p.objects.WeftToWire); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close gives back what the process has. Programs that are attached stay, with their
// tables.
func (p *Plane) Close() error {
	var errs []error
	for _, n := range p.networks {
		errs = append(errs, n.close())
	}
	p.networks = map[uint32]*network{}
	return errors.Join(append(errs, p.objects.Close())...)
}

// SetHost tells the programs of the host, and closes the fast path until Renew.
func (p *Plane) SetHost(h Host) error {
	if h == p.host {
		return nil
	}
	p.host = Host{}
	if err := p.write(h, 0, 0); err != nil {
		return err
	}
	p.host = h
	return nil
}

// Renew keeps the fast path open for d from now.
func (p *Plane) Renew(d time.Duration) error {
	if !p.host.VTEP.IsValid() {
		return nil
	}
	now, err := monotonic()
	if err != nil {
		return err
	}
	p.takes = now + d
	return p.write(p.host, now+d, p.takes)
}

// Shut closes the fast path at once: everything takes the slow way, but what others go on
// sending without a tunnel for a moment, which has no other.
func (p *Plane) Shut() error {
	if !p.host.VTEP.IsValid() {
		return nil
	}
	now, err := monotonic()
	if err != nil {
		return err
	}
	return p.write(p.host, 0, min(p.takes, now+afterglow))
}

func (p *Plane) write(h Host, until, takes time.Duration) error {
	v := programsHost{Until: uint64(until), Takes: uint64(takes), Uplink: uint32(h.Uplink), Port: bigEndian16(h.Port), Mac: h.MAC} //nolint:gosec // none is negative
	v.Vtep.Word = words(h.VTEP)
	if err := p.objects.WeftHost.Update(uint32(0), v, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("tell the fast path of this host: %w", err)
	}
	return nil
}

// monotonic reads the clock of the programs, bpf_ktime_get_coarse_ns.
func monotonic() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("read the kernel's clock: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

// Counts are packets that went the fast way since the programs were loaded. Several
// that the kernel handles as one count once.
type Counts struct {
	Sent     uint64 // to other hosts
	Received uint64 // from other hosts
	Local    uint64 // from one container of this host to another one

	SentDirect     uint64 // to other hosts, without a tunnel
	ReceivedDirect uint64 // from other hosts, likewise
}

// Counts reads them.
func (p *Plane) Counts() (Counts, error) {
	var sums [5]uint64
	for i := range sums {
		var each []uint64
		if err := p.objects.WeftCounts.Lookup(uint32(i), &each); err != nil { //nolint:gosec // 0 to 4
			return Counts{}, fmt.Errorf("read the counts of the fast path: %w", err)
		}
		for _, n := range each {
			sums[i] += n
		}
	}
	return Counts{Sent: sums[0], Received: sums[1], Local: sums[2], SentDirect: sums[3], ReceivedDirect: sums[4]}, nil
}
