package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// The guard of a port is one nftables chain at the ingress of its link, so that
// only what a container sends passes it, once; what comes from elsewhere costs
// nothing. A chain of literal comparisons with the most frequent case first is
// cheaper than set look-ups for the two addresses that an endpoint can have.

// Offsets and values that the rules compare.
var (
	typeIPv4 = []byte{0x08, 0x00} // IEEE 802 numbers, EtherType
	typeIPv6 = []byte{0x86, 0xdd}
	typeARP  = []byte{0x08, 0x06}
	// Ethernet and IPv4 with 6- and 4-byte addresses (RFC 826).
	arpHeader = []byte{0, 1, 0x08, 0x00, 6, 4}
)

// ICMPv6 types that speak for somebody else (RFC 4861 section 4).
const (
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighborAdvertisement = 136
	redirect              = 137
)

// UDP ports of DHCP, source and destination of what a server sends (RFC 2131
// section 4.1, RFC 8415 section 7.2), and of what an IPv4 client sends.
var (
	dhcpServer   = []byte{0, 67, 0, 68}
	dhcpClient   = []byte{0, 68, 0, 67}
	dhcpv6Server = []byte{0x02, 0x23, 0x02, 0x22} // 547 to 546
)

// linkLocalOf gives the link-local address that the kernel makes from the MAC
// (RFC 4291 appendix A), as it does in each new namespace.
func linkLocalOf(mac overlay.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 0x02, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}

// portRules gives what an endpoint may send: IPv4, IPv6 and ARP, from its MAC
// and its addresses, of which one is the link-local address of its MAC. From
// 0.0.0.0 and :: it may send what needs no address: a DHCP client's requests
// (RFC 2131), group memberships (RFC 3376, RFC 3810), ARP probes (RFC 5227) and
// ICMPv6 (RFC 4862). It answers nobody as a router or a DHCP server, in no
// fragments either, see hiddenRules. Tagged frames match none of the types and
// are dropped with the rest.
func portRules(mac overlay.MAC, addrs []netip.Addr) []rule {
	const ll, nh, th = expr.PayloadBaseLLHeader, expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	accept := verdict(expr.VerdictAccept)
	// Source MAC and type lie side by side: one comparison for both.
	from := func(kind []byte) []expr.Any {
		return []expr.Any{load(ll, 6, 8, 0), equal(slices.Concat(mac[:], kind)...)}
	}
	icmp6 := func(kind byte) []expr.Any {
		return append(from(typeIPv6), meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_ICMPV6), load(th, 0, 1, 0), equal(kind))
	}
	drop := []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop)}
	ports := func(both []byte) []expr.Any {
		return []expr.Any{meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_UDP), load(th, 0, 4, 0), equal(both...)}
	}
	source4 := func(a netip.Addr) []expr.Any {
		return append(from(typeIPv4), load(nh, 12, 4, 0), equal(a.AsSlice()...))
	}
	source6 := func(a netip.Addr) []expr.Any {
		return append(from(typeIPv6), load(nh, 8, 16, 0), equal(a.AsSlice()...))
	}

	var four, six []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	six = append(six, linkLocalOf(mac))
	var out []rule
	add := func(text string, exprs ...[]expr.Any) {
		out = append(out, rule{fmt.Sprintf("%s %s", mac, text), slices.Concat(exprs...)})
	}
	accepted := []expr.Any{accept}
	add("no dhcp server", ports(dhcpServer), drop)
	for _, a := range four {
		add("ip "+a.String(), source4(a), accepted)
	}
	none4, none6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	add("ip 0.0.0.0 dhcp client", source4(none4), ports(dhcpClient), accepted)
	add("ip 0.0.0.0 igmp", source4(none4), []expr.Any{meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_IGMP)}, accepted)
	add("ip6 first fragment", from(typeIPv6), firstFragment(), []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chainFragment}})
	add("no dhcpv6 server", ports(dhcpv6Server), drop)
	add("no router advertisement", icmp6(routerAdvertisement), drop)
	add("no redirect", icmp6(redirect), drop)
	foreign := icmp6(neighborAdvertisement)
	names := make([]string, 0, len(six))
	for _, a := range six {
		foreign = append(foreign, load(th, 8, 16, 0), unequal(a.AsSlice()...))
		names = append(names, a.String())
	}
	add("no advertisement but of "+strings.Join(names, " "), foreign, drop)
	for _, a := range six {
		add("ip6 "+a.String(), source6(a), accepted)
	}
	add("ip6 :: icmpv6", source6(none6), []expr.Any{meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_ICMPV6)}, accepted)
	four = append(four, none4)
	for _, a := range four {
		add("arp "+a.String(), from(typeARP), []expr.Any{
			load(nh, 0, 6, 0), equal(arpHeader...),
			// Sender hardware and protocol address lie side by side as well.
			load(nh, 8, 10, 0), equal(slices.Concat(mac[:], a.AsSlice())...), accept,
		})
	}
	return append(out, rule{dropped, drop})
}

// plainFirst are the protocols with which a fragmented packet may begin behind
// its fragment header (IANA protocol numbers).
var plainFirst = []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6, unix.IPPROTO_ESP, unix.IPPROTO_SCTP}

// hiddenRules are those of the chain that the first fragments of IPv6 packets
// pass at each port. Neighbour discovery has no place in fragments (RFC 6980). And
// one that begins with another header does not show for sure what it carries: the
// bytes behind its end, which its receiver cuts off, are still there.
func hiddenRules() []rule {
	drop := []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop)}
	out := []rule{{"no neighbour discovery", append([]expr.Any{
		fragmentField(0, 1), equal(unix.IPPROTO_ICMPV6),
		load(expr.PayloadBaseTransportHeader, 0, 1, 0),
		&expr.Range{Op: expr.CmpOpEq, Register: reg32, FromData: []byte{routerSolicitation}, ToData: []byte{redirect}},
	}, drop...)}}
	for _, next := range plainFirst {
		out = append(out, rule{fmt.Sprintf("next header %d", next), []expr.Any{fragmentField(0, 1), equal(next), verdict(expr.VerdictReturn)}})
	}
	return append(out, rule{dropped, drop})
}

// portGuard is what the chain of a port follows from.
type portGuard struct {
	mac   overlay.MAC
	addrs []netip.Prefix
}

func (g portGuard) equal(o portGuard) bool { return g.mac == o.mac && slices.Equal(g.addrs, o.addrs) }

func (g portGuard) rules() []rule {
	addrs := make([]netip.Addr, 0, len(g.addrs))
	for _, a := range g.addrs {
		addrs = append(addrs, a.Addr())
	}
	return portRules(g.mac, addrs)
}

// guards gives the wanted chains by name.
func (p *pass) guards(n overlay.NetworkConfig) map[string]portGuard {
	out := map[string]portGuard{}
	if !n.Guarded {
		return out
	}
	for _, port := range n.Ports {
		name := overlay.PortLink(port.Endpoint)
		if _, exists := p.links[name]; exists {
			out[name] = portGuard{port.MAC, port.Addrs}
		}
	}
	return out
}

// guard makes the chains of the network's ports, in one transaction.
func (p *pass) guard(old applied) error {
	want := p.guards(p.n)
	table := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: ownTable}
	c, part, err := connect(p.ns)
	if err != nil {
		return err
	}
	defer part()
	have := map[string][]string{}
	switch {
	case p.verify:
		if have, err = readChains(c, table); err != nil {
			return err
		}
	default:
		for name, g := range p.guards(old.config) {
			if w, stays := want[name]; stays && w.equal(g) && !p.fresh[name] {
				delete(want, name) // it is there; to compare the rules of a thousand ports takes longer than all else
				continue
			}
			have[name] = texts(g.rules())
		}
		// Whether a chain outlived its link depends on the kernel.
		if len(p.fresh) > 0 {
			chains, err := listChains(c, table)
			if err != nil {
				return err
			}
			exists := map[string]bool{}
			for _, ch := range chains {
				exists[ch.Name] = true
			}
			for name := range p.fresh {
				delete(have, name)
				if exists[name] {
					have[name] = nil
				}
			}
		}
	}
	delete(have, chainRefuse) // has a door of its own
	hidden := &nftables.Chain{Table: table, Name: chainFragment}
	was, exists := have[chainFragment]
	spoilt := exists && !slices.Equal(was, texts(hiddenRules())) || !exists && p.verify && len(have) > 0
	delete(have, chainFragment)
	if len(want) == 0 && len(have) == 0 {
		return nil
	}
	t := transactions{c: c, begin: func() {
		c.AddTable(table)
		c.AddChain(hidden)
		c.FlushChain(hidden)
		addRules(c, table, hidden, hiddenRules())
	}}
	if spoilt {
		p.fix("guard of fragments of network %s was missing", p.n.ID)
		t.step(1, func() {})
	}
	for name, g := range want {
		rules := g.rules()
		was, exists := have[name]
		if exists && slices.Equal(was, texts(rules)) && !p.fresh[name] {
			continue
		}
		p.fix("guard of link %s of network %s was missing", name, p.n.ID)
		t.step(2+len(rules), func() {
			if exists {
				c.DelChain(&nftables.Chain{Table: table, Name: name})
			}
			ch := c.AddChain(&nftables.Chain{
				Table: table, Name: name, Type: nftables.ChainTypeFilter, Device: name,
				Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter,
			})
			addRules(c, table, ch, rules)
		})
	}
	for name := range have {
		if _, ok := want[name]; !ok && !p.cfg.Partial {
			p.fix("guard of link %s of network %s was not wanted", name, p.n.ID)
			t.step(1, func() { c.DelChain(&nftables.Chain{Table: table, Name: name}) })
		}
	}
	if err := t.end(); err != nil {
		return fmt.Errorf("guard its ports by nftables: %w; see `weft doctor` for what the kernel lacks, or make networks with -o weft.port_isolation=false, whose containers can pretend to be others", err)
	}
	return nil
}

// transactions puts steps, each of which the kernel takes whole or not at all,
// into as few transactions as fit.
type transactions struct {
	c        *nftables.Conn
	begin    func() // what each begins with
	messages int    // of the one that is open
	err      error
}

// messagesAtOnce bounds a transaction: the kernel answers each message at once,
// and the answers have to fit the socket's receive buffer (208 KiB by default,
// net.core.rmem_default, of which an answer takes 0.75 KiB or more).
const messagesAtOnce = 100

func (t *transactions) step(messages int, add func()) {
	if t.messages+messages > messagesAtOnce {
		t.err = t.end()
	}
	if t.messages == 0 {
		t.begin()
	}
	t.messages += messages
	add()
}

func (t *transactions) end() error {
	err := t.err
	if t.messages > 0 {
		err = errors.Join(err, t.c.Flush())
	}
	t.messages, t.err = 0, nil
	return err
}

// readChains gives the texts of all rules of a netdev table by chain. Whether a
// chain still has its link need not be asked: when a link goes, older kernels
// delete its chain, newer ones (6.18) hook it to the next link of that name.
func readChains(c *nftables.Conn, table *nftables.Table) (map[string][]string, error) {
	chains, err := listChains(c, table)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, ch := range chains {
		texts, err := readRules(c, table, ch)
		if err != nil {
			return nil, err
		}
		if ch.Hooknum == nil && ch.Name != chainFragment {
			texts = nil
		}
		out[ch.Name] = texts
	}
	return out, nil
}

func listChains(c *nftables.Conn, table *nftables.Table) ([]*nftables.Chain, error) {
	chains, err := dump(func() ([]*nftables.Chain, error) { return c.ListChainsOfTableFamily(table.Family) })
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	return slices.DeleteFunc(chains, func(ch *nftables.Chain) bool { return ch.Table.Name != table.Name }), nil
}
