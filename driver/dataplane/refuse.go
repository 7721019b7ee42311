package dataplane

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// What is sent to an address of this host that no container has is refused at
// once, so that a proxy tries the next container instead of waiting. The bridge
// forwards the MACs of such addresses, which it tells by ARP and ND like those of
// other hosts, to one end of a veth pair, and at the other end the kernel answers.
// What goes elsewhere costs nothing more. A container that gets such an address
// gets its MAC too, and its port takes the forwarding entry over, so what others
// know of the address stays right.

// chainRefuse is the chain at the ingress of the link of that name.
const chainRefuse = overlay.RefuseEnd

// ability is whether this kernel can do something.
type ability uint8

const (
	untried ability = iota
	able
	unable
)

// refuseRules gives what is said to whom: TCP by RST, UDP so that a socket sees
// it (a port is not reached), the rest as a router says it. The kernel answers
// no broadcast, no RST and no ICMP error.
func refuseRules() []rule {
	protocol := func(number byte) []expr.Any { return []expr.Any{meta(expr.MetaKeyL4PROTO), equal(number)} }
	icmp := func(code uint8) expr.Any { return &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: code} }
	return []rule{
		{"refuse tcp", append(protocol(unix.IPPROTO_TCP), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})},
		{"refuse udp", append(protocol(unix.IPPROTO_UDP), icmp(unix.NFT_REJECT_ICMPX_PORT_UNREACH))},
		{"refuse the rest", []expr.Any{icmp(unix.NFT_REJECT_ICMPX_HOST_UNREACH)}},
	}
}

// refusal makes the pair and the chain of a network that has such addresses, and
// says whether they are there. A kernel that cannot refuse goes without.
func (p *pass) refusal() (refuses bool, err error) {
	if len(p.n.Gone) == 0 || !p.n.Guarded || p.d.refusal == unable {
		return false, p.removeRefusal()
	}
	if p.links[overlay.RefuseEnd] == nil || p.links[overlay.RefusePort] == nil {
		if err := p.addRefuse(); err != nil {
			return false, err
		}
	}
	err = p.refuseChain()
	if p.d.refusal == untried && lacking(err) {
		p.d.refusal = unable
		p.d.log.WithError(err).Warn("This kernel cannot refuse what is sent to addresses that no container has (nftables' reject at a link's ingress, Linux 5.9): who connects to a container that is just gone waits for its own time-out.")
		return false, p.removeRefusal()
	}
	if err != nil {
		return false, fmt.Errorf("refuse what is sent to addresses that no container has: %w", err)
	}
	p.d.refusal = able
	err = p.attach(overlay.RefusePort, portFlags{suppress: true, quiet: true})
	for _, name := range []string{overlay.RefusePort, overlay.RefuseEnd} {
		err = errors.Join(err, p.mtu(name), p.up(name))
	}
	return err == nil, err
}

// addRefuse makes the pair.
func (p *pass) addRefuse() error {
	if l := p.links[overlay.RefuseEnd]; l != nil {
		if err := p.h.remove(l); err != nil {
			return err
		}
	}
	p.fix("links %s and %s of network %s were missing", overlay.RefusePort, overlay.RefuseEnd, p.n.ID)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = overlay.RefusePort, p.n.MTU
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerMTU = overlay.RefuseEnd, uint32(p.n.MTU) //nolint:gosec // 16 bits
	if err := p.h.LinkAdd(v); err != nil {
		return fmt.Errorf("add veth pair %s: %w", overlay.RefusePort, err)
	}
	for _, name := range []string{overlay.RefusePort, overlay.RefuseEnd} {
		if err := p.reload(name); err != nil {
			return err
		}
		p.fresh[name] = true
	}
	return nil
}

// refuseChain makes the chain if it is not as it should be.
func (p *pass) refuseChain() error {
	if !p.fresh[overlay.RefuseEnd] && !p.verify {
		return nil
	}
	c, part, err := connect(p.ns)
	if err != nil {
		return err
	}
	defer part()
	table, chain := refuseTable()
	have, err := readRules(c, table, chain)
	if err != nil {
		return err
	}
	if !p.fresh[overlay.RefuseEnd] {
		if slices.Equal(have, texts(refuseRules())) {
			return nil
		}
		p.fix("refusals of network %s were missing", p.n.ID)
	}
	if len(have) > 0 {
		c.DelChain(chain)
	}
	addRefusal(c, table, chain)
	return c.Flush()
}

// removeRefusal takes the pair away, and the chain, which on some kernels
// outlives it.
func (p *pass) removeRefusal() error {
	end := p.links[overlay.RefuseEnd]
	if end == nil || p.cfg.Partial {
		return nil
	}
	p.fix("links %s and %s of network %s were not wanted", overlay.RefusePort, overlay.RefuseEnd, p.n.ID)
	delete(p.links, overlay.RefuseEnd)
	delete(p.links, overlay.RefusePort)
	p.fresh[overlay.RefusePort] = true // its forwarding entries go with it
	if err := p.h.remove(end); err != nil {
		return err
	}
	c, part, err := connect(p.ns)
	if err != nil {
		return err
	}
	defer part()
	table, chain := refuseTable()
	chains, err := listChains(c, table)
	if err != nil || !slices.ContainsFunc(chains, func(have *nftables.Chain) bool { return have.Name == chain.Name }) {
		return err
	}
	c.DelChain(chain)
	return c.Flush()
}

func refuseTable() (*nftables.Table, *nftables.Chain) {
	table := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: ownTable}
	return table, &nftables.Chain{
		Table: table, Name: chainRefuse, Type: nftables.ChainTypeFilter, Device: overlay.RefuseEnd,
		Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
	}
}

func addRefusal(c *nftables.Conn, table *nftables.Table, chain *nftables.Chain) {
	c.AddTable(table)
	c.AddChain(chain)
	c.FlushChain(chain)
	addRules(c, table, chain, refuseRules())
}

// lacking says whether the kernel refused for want of an expression.
func lacking(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) }

// tryRefusal makes the chain at a link of another namespace.
func tryRefusal(ns netns.NsHandle, link string) error {
	c, part, err := connect(ns)
	if err != nil {
		return err
	}
	defer part()
	table, chain := refuseTable()
	chain.Device = link
	addRefusal(c, table, chain)
	return c.Flush()
}
