package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// tap is the interception of a sandbox's queries: a table of weft's own, which
// sends them elsewhere as long as Docker's address is an element of a set. The
// element has a timeout, and the table belongs to the netlink socket that made
// it and goes with it (NFT_TABLE_F_OWNER, Linux 5.12), so that a killed weft
// leaves Docker's resolver to the container at once, and one that hangs soon.
//
// By UDP the ports are written into the packets, which are not tracked: a flow
// that the kernel follows stays with the socket that it began with for half a
// minute, and so would send queries to a port where nobody listens any more.
// What a client asks by one socket so goes now to weft and now to Docker.
type tap struct {
	nft   *nftables.Conn
	conn  *netlink.Conn // the same socket, for deadlines
	owned bool
	table *nftables.Table
	live  *nftables.Set
}

const (
	tapTable = "weft-dns"
	// tapPriority is before Docker's own chains, which are at -100: the first
	// rule that translates wins. The ports of UDP are written before the kernel
	// follows flows, which is at -200.
	tapPriority = -110
	rawPriority = -300
	// ownerFlag is NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h.
	ownerFlag = 2
	// nftTimeout bounds one transaction, in case an acknowledgement is missed.
	nftTimeout = 2 * time.Second
)

// openTap makes the table, which intercepts nothing yet, in place of what an
// earlier process left.
func openTap(ns netns.NsHandle) (*tap, error) {
	t := &tap{table: &nftables.Table{Name: tapTable, Family: nftables.TableFamilyIPv4}}
	// The set's ID is only for the transaction; given, the library has no need
	// of a counter that all goroutines share.
	t.live = &nftables.Set{Table: t.table, Name: "live", ID: 1, KeyType: nftables.TypeIPAddr, HasTimeout: true}
	var err error
	t.nft, err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(int(ns)), nftables.WithSockOptions(
		func(c *netlink.Conn) error {
			t.conn = c
			err := t.own()
			if err != nil {
				c.Close()
			}
			return err
		}))
	if err != nil {
		return nil, err
	}
	return t, nil
}

// own makes an empty table that belongs to the socket. A kernel that cannot is
// fine.
func (t *tap) own() error {
	name := netlink.Attribute{Type: unix.NFTA_TABLE_NAME, Data: []byte(tapTable + "\x00")}
	owner := netlink.Attribute{Type: unix.NFTA_TABLE_FLAGS, Data: binaryutil.BigEndian.PutUint32(ownerFlag)}
	plain, err := netlink.MarshalAttributes([]netlink.Attribute{name})
	if err != nil {
		return err
	}
	owned, err := netlink.MarshalAttributes([]netlink.Attribute{name, owner})
	if err != nil {
		return err
	}
	const change = netlink.Request | netlink.Acknowledge
	messages := []netlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, netlink.Request, unix.NFPROTO_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(nfTables|unix.NFT_MSG_NEWTABLE, change|netlink.Create, unix.NFPROTO_IPV4, 0, plain),
		message(nfTables|unix.NFT_MSG_DELTABLE, change, unix.NFPROTO_IPV4, 0, plain),
		message(nfTables|unix.NFT_MSG_NEWTABLE, change|netlink.Create, unix.NFPROTO_IPV4, 0, owned),
		message(unix.NFNL_MSG_BATCH_END, netlink.Request, unix.NFPROTO_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil),
	}
	if err := t.conn.SetDeadline(time.Now().Add(nftTimeout)); err != nil {
		return err
	}
	if _, err := t.conn.SendMessages(messages); err != nil {
		return fmt.Errorf("make table %s: %w", tapTable, err)
	}
	for range 3 {
		switch _, err := t.conn.Receive(); {
		case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL): // the last one's; the first two are acknowledged
			return nil
		case err != nil:
			return fmt.Errorf("make table %s: %w", tapTable, err)
		}
	}
	t.owned = true
	return nil
}

const nfTables = unix.NFNL_SUBSYS_NFTABLES << 8

func message(kind int, flags netlink.HeaderFlags, family byte, resource byte, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, resource}, attrs...), // struct nfgenmsg
	}
}

// fill makes the table's set, chains and rules.
func (t *tap) fill(udp, tcp netip.AddrPort, ttl time.Duration) error {
	if !t.owned {
		t.nft.AddTable(t.table)
		t.nft.DelTable(t.table)
		t.nft.AddTable(t.table)
	}
	if err := t.nft.AddSet(t.live, t.element(ttl)); err != nil {
		return err
	}
	chain := func(name string, kind nftables.ChainType, priority nftables.ChainPriority, rules ...rule) {
		addRules(t.nft, t.table, t.nft.AddChain(&nftables.Chain{
			Name: name, Table: t.table, Type: kind, Hooknum: nftables.ChainHookOutput, Priority: &priority,
		}), append([]rule{othersPass(), ownPass()}, rules...))
	}
	chain("udp", nftables.ChainTypeFilter, rawPriority, t.divert(udp), t.restore(udp))
	chain("tcp", nftables.ChainTypeNAT, tapPriority, t.redirect(tcp))
	return t.flush()
}

// loopback is the index of the interface lo in each namespace (LOOPBACK_IFINDEX in
// the kernel's include/net/net_namespace.h).
const loopback = 1

// othersPass comes first: what leaves the sandbox is for no resolver in it, and it
// is nearly all that a container sends, so it pays for one comparison.
func othersPass() rule {
	return rule{text: "what leaves by another interface than lo passes", exprs: []expr.Any{
		meta(expr.MetaKeyOIF), unequal(binaryutil.NativeEndian.PutUint32(loopback)...), verdict(expr.VerdictAccept),
	}}
}

func ownPass() rule {
	return rule{text: "queries of weft's own pass", exprs: []expr.Any{
		meta(expr.MetaKeyMARK), equal(binaryutil.NativeEndian.PutUint32(bypass)...), verdict(expr.VerdictReturn),
	}}
}

// divert writes our socket's port into queries by UDP, and restore the port that
// was asked into its answers.
func (t *tap) divert(to netip.AddrPort) rule {
	return rule{text: fmt.Sprintf("queries by UDP go to %s", to), exprs: slices.Concat(
		t.queries(unix.IPPROTO_UDP), rewrite(destinationPort, to.Port()),
	)}
}

func (*tap) restore(from netip.AddrPort) rule {
	addr := from.Addr().As4()
	return rule{text: fmt.Sprintf("answers by UDP of %s come from port %d", from, dnsPort), exprs: slices.Concat(
		[]expr.Any{
			load(expr.PayloadBaseNetworkHeader, 12, 4, 0), // source address
			equal(addr[:]...),
			meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_UDP),
			load(expr.PayloadBaseTransportHeader, sourcePort, 2, 0),
			equal(binaryutil.BigEndian.PutUint16(from.Port())...),
		},
		rewrite(sourcePort, dnsPort),
	)}
}

// Offsets in the headers of UDP and TCP.
const (
	sourcePort      = 0
	destinationPort = 2
	udpChecksum     = 6 // (RFC 768)
)

// rewrite writes a port into a datagram, and has the kernel follow no flow.
func rewrite(offset uint32, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Notrack{},
		&expr.Immediate{Register: reg32, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg32, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: udpChecksum,
		},
		verdict(expr.VerdictAccept),
	}
}

// redirect sends queries by TCP to our socket.
func (t *tap) redirect(to netip.AddrPort) rule {
	addr := to.Addr().As4()
	return rule{text: fmt.Sprintf("queries by TCP go to %s", to), exprs: append(t.queries(unix.IPPROTO_TCP),
		&expr.Immediate{Register: unix.NFT_REG_1, Data: addr[:]},
		&expr.Immediate{Register: unix.NFT_REG_2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: unix.NFT_REG_1, RegProtoMin: unix.NFT_REG_2},
	)}
}

// queries are packets to Docker's resolver while the interception is alive.
func (t *tap) queries(protocol byte) []expr.Any {
	return []expr.Any{
		load(expr.PayloadBaseNetworkHeader, 16, 4, 0), // destination address
		&expr.Lookup{SourceRegister: reg32, SetName: t.live.Name, SetID: t.live.ID},
		meta(expr.MetaKeyL4PROTO), equal(protocol),
		load(expr.PayloadBaseTransportHeader, destinationPort, 2, 0),
		equal(binaryutil.BigEndian.PutUint16(dnsPort)...),
	}
}

func (t *tap) element(ttl time.Duration) []nftables.SetElement {
	return []nftables.SetElement{{Key: dockerResolver[:], Timeout: ttl}}
}

// renew gives the element a new timeout. Adding it again would leave the old
// one before Linux 6.12.
func (t *tap) renew(ttl time.Duration) error {
	t.nft.FlushSet(t.live)
	if err := t.nft.SetAddElements(t.live, t.element(ttl)); err != nil {
		return err
	}
	return t.flush()
}

func (t *tap) flush() error {
	if err := t.conn.SetDeadline(time.Now().Add(nftTimeout)); err != nil {
		return err
	}
	return t.nft.Flush()
}

// release sends new queries to Docker's resolver. Answers to old ones still pass.
func (t *tap) release() error {
	t.nft.FlushSet(t.live)
	if err := t.flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// remove takes the table away.
func (t *tap) remove() error {
	defer t.close()
	t.nft.DelTable(t.table)
	if err := t.flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// close leaves a table that is not ours alone to its timeout.
func (t *tap) close() { _ = t.nft.CloseLasting() }
