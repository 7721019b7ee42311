package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// portMemory is what earlier passes saw of an endpoint's veth pair.
//
// A pair that this process never saw is made in the host's namespace, where
// Docker looks for it; Docker 20.10 makes the sandbox only after that. Once it
// was seen and is gone, either Docker took the sandbox down (the kernel deletes
// the pair with it, and the record follows) or somebody deleted it by hand. So
// it is made again only in a verifying pass, only if the sandbox still exists,
// and only if it was missing in an earlier verifying pass at least
// Options.RepairAfter ago: Leave comes before Docker touches the link, so by
// then a teardown has set Port.Keep.
//
// A process that starts cannot tell the two; it makes the pair in the host's
// namespace, and if Docker has not fetched it after stuckFactor times as long
// although the sandbox exists, it is made anew inside.
type portMemory struct {
	seen  bool
	since time.Time // first verifying pass that found it missing or not fetched; zero if none did
}

// stuckFactor makes the wait for Docker to fetch a link longer than the wait
// before a lost one is replaced, a minute in all: an overloaded Docker has been seen
// to take 22 s from Join, and cannot start the container once its link is gone.
const stuckFactor = 12

// ports makes and repairs the veth pairs, down.
func (p *pass) ports(ctx context.Context) error {
	var errs []error
	for _, port := range p.n.Ports {
		if err := p.port(ctx, port); err != nil {
			errs = append(errs, fmt.Errorf("endpoint %s: %w", port.Endpoint, err))
		}
	}
	return errors.Join(errs...)
}

func (p *pass) port(ctx context.Context, port overlay.Port) error {
	name := overlay.PortLink(port.Endpoint)
	memory := p.d.ports[port.Endpoint]
	_, exists := p.links[name]
	switch {
	case port.Keep && !exists:
		return nil
	case port.Keep:
	case !exists:
		made, err := p.replacePair(ctx, port, &memory)
		p.d.ports[port.Endpoint] = memory
		if err != nil || !made {
			return err
		}
	case p.verify:
		if err := p.fetchPair(port, &memory); err != nil {
			return err
		}
	}
	memory.seen = true
	p.d.ports[port.Endpoint] = memory

	oldMTU := p.links[name].Attrs().MTU
	err := errors.Join(
		p.attach(name, portFlags{learning: !p.n.Guarded, flood: !p.n.Guarded, backup: p.refuses}),
		p.mtu(name),
	)
	if err == nil && (p.verify || oldMTU != p.n.MTU) && !p.fresh[name] {
		err = p.containerMTU(port)
	}
	return err
}

// replacePair makes a pair that does not exist, where it belongs, unless it is
// too early to tell.
func (p *pass) replacePair(ctx context.Context, port overlay.Port, memory *portMemory) (made bool, err error) {
	name := overlay.PortLink(port.Endpoint)
	if !memory.seen {
		p.fix("link %s of network %s was missing", name, p.n.ID)
		return true, p.addPair(ctx, port)
	}
	if !isNamespace(port.Sandbox) || !p.verify {
		if !isNamespace(port.Sandbox) {
			memory.since = time.Time{}
		}
		return false, nil
	}
	if !p.due(memory, 1) {
		return false, nil
	}
	p.fix("link %s of network %s was missing and was made again in its sandbox", name, p.n.ID)
	return true, p.addPairInSandbox(port)
}

// fetchPair moves a container end into its sandbox that Docker has left in the
// host's namespace for too long.
func (p *pass) fetchPair(port overlay.Port, memory *portMemory) error {
	stuck := false
	if isNamespace(port.Sandbox) {
		l, err := p.d.host.link(overlay.ContainerLink(port.Endpoint))
		if err != nil {
			return err
		}
		stuck = l != nil
	}
	if !stuck {
		memory.since = time.Time{}
		return nil
	}
	if !p.due(memory, stuckFactor) {
		p.d.ports[port.Endpoint] = *memory
		return nil
	}
	name := overlay.PortLink(port.Endpoint)
	p.fix("link %s of network %s was not in its sandbox and was made again there", name, p.n.ID)
	if err := p.h.remove(p.links[name]); err != nil {
		return err
	}
	delete(p.links, name)
	return p.addPairInSandbox(port)
}

// due says whether the wait that began with the first call is over.
func (p *pass) due(memory *portMemory, factor int) bool {
	now := p.d.now()
	if memory.since.IsZero() {
		memory.since = now
		return false
	}
	if now.Sub(memory.since) < p.d.repairAfter*time.Duration(factor) {
		return false
	}
	memory.since = time.Time{}
	return true
}

// dyingFor is how long the end of an earlier pair may be left: its other end died
// with its namespace, which the kernel takes down in its own time.
const dyingFor = 3 * time.Second

// addPair makes the pair with the container end in the host's namespace.
func (p *pass) addPair(ctx context.Context, port overlay.Port) error {
	name := overlay.ContainerLink(port.Endpoint)
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := p.d.host.LinkAdd(p.pair(name, port))
		if err != nil && !errors.Is(err, unix.EEXIST) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(retryEvery)), backoff.WithMaxElapsedTime(dyingFor))
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("link %s exists in the host's namespace and is not weft's; remove it", name)
	case err != nil:
		return fmt.Errorf("add veth pair %s: %w", name, err)
	}
	return p.madePair(port)
}

// pair describes a veth pair whose container end is called name and whose other
// end is made in the network's namespace. Nothing is moved: moving a link to
// another namespace takes 12 to 36 ms.
func (p *pass) pair(name string, port overlay.Port) *netlink.Veth {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = name, p.n.MTU, net.HardwareAddr(port.MAC[:])
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerNamespace = overlay.PortLink(port.Endpoint), netlink.NsFd(int(p.ns))
	return v
}

func (p *pass) madePair(port overlay.Port) error {
	name := overlay.PortLink(port.Endpoint)
	p.fresh[name] = true
	return p.reload(name)
}

// portsUp sets the ports up, but none that ought to be guarded and is not.
func (p *pass) portsUp(guardErr error) error {
	if guardErr != nil {
		return nil
	}
	var errs []error
	for _, port := range p.n.Ports {
		if name := overlay.PortLink(port.Endpoint); p.links[name] != nil {
			errs = append(errs, p.up(name))
		}
	}
	return errors.Join(errs...)
}

// forgetPorts drops the memory of endpoints that are gone.
func (d *Dataplane) forgetPorts(cfg overlay.Config) {
	wanted := map[string]bool{}
	for _, n := range cfg.Networks {
		for _, p := range n.Ports {
			wanted[p.Endpoint] = true
		}
	}
	for id := range d.ports {
		if !wanted[id] {
			delete(d.ports, id)
		}
	}
}
