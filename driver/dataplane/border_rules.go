package dataplane

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The objects of the host's table.
const (
	setVNIs         = "vnis"
	setMembers4     = "members4"
	setMembers6     = "members6"
	setHosts4       = "hosts4"
	setHosts6       = "hosts6"
	chainPrerouting = "prerouting"
	chainArrival    = "arrival"
	chainInput      = "input"
	chainFragment   = "fragment"
	chainCheck      = "check"
	chainOutput     = "output"
	chainSent       = "sent"
)

// vniOffset is where the VNI lies behind the start of the UDP header, with the
// reserved byte before it (RFC 7348 section 5).
const vniOffset = 8 + 3

// borderTable is the host's table as Go values; making it sends nothing.
//
//   - prerouting: no source of a host of the cluster comes in but by the
//     interface that routes it, or by the underlay's: a container cannot forge
//     one. And no tunnel is tracked. So nobody translates the addresses of what
//     a container sends to the port, and it leaves as from a stranger.
//   - input: the source is a member of the network. This stands here and not in
//     prerouting because IPv4 fragments are put together in between. Those of
//     IPv6 need not be: so a first fragment that is of the port, or does not
//     show of which port it is (RFC 7112), is dropped.
//   - output: what a process sends to the port is dropped. The kernel's tunnels
//     send without a process.
type borderTable struct {
	table  *nftables.Table
	sets   []*nftables.Set
	chains []borderChain
}

type borderChain struct {
	*nftables.Chain
	rules []rule
}

// closed is the rule that lets nothing in while the sets are being filled.
const closed = "closed until the sets are filled"

func newBorderTable(b *border) borderTable {
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: ownTable}
	set := func(name string, key nftables.SetDatatype, several bool) *nftables.Set {
		order := binaryutil.NativeEndian
		if key != nftables.TypeMark {
			order = nil
		}
		return &nftables.Set{Table: t, Name: name, KeyType: key, Concatenation: several, KeyByteOrder: order}
	}
	chain := func(name string, rules ...rule) borderChain {
		return borderChain{&nftables.Chain{Table: t, Name: name}, rules}
	}
	// A base chain is there before a firewall that accepts or tracks.
	base := func(name string, hook *nftables.ChainHook, priority nftables.ChainPriority, rules ...rule) borderChain {
		c := chain(name, rules...)
		c.Type, c.Hooknum, c.Priority = nftables.ChainTypeFilter, hook, &priority
		return c
	}
	raw, filter := *nftables.ChainPriorityRaw, *nftables.ChainPriorityFilter-10
	return borderTable{
		table: t,
		sets: []*nftables.Set{
			set(setVNIs, nftables.TypeMark, false),
			set(setMembers4, nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeMark), true),
			set(setMembers6, nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeMark), true),
			set(setHosts4, nftables.TypeIPAddr, false),
			set(setHosts6, nftables.TypeIP6Addr, false),
		},
		chains: []borderChain{ // before those that jump to them
			chain(chainFragment, fragmentRules(b)...),
			chain(chainCheck, checkRules(b)...),
			chain(chainArrival, arrivalRules(b)...),
			chain(chainSent, sentRules()...),
			base(chainPrerouting, nftables.ChainHookPrerouting, raw, preroutingRules(b)...),
			base(chainInput, nftables.ChainHookInput, filter, inputRules(b)...),
			base(chainOutput, nftables.ChainHookOutput, raw, outputRules(b)...),
		},
	}
}

// closedRules stand in for those of the chain input.
func closedRules(b *border) []rule {
	return []rule{{closed, slices.Concat(toPort(b), []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop)})}}
}

func preroutingRules(b *border) []rule {
	return []rule{{fmt.Sprintf("udp dport %d", b.port), append(toPort(b), &expr.Verdict{Kind: expr.VerdictJump, Chain: chainArrival})}}
}

// arrivalRules begin with what nearly all packets are.
func arrivalRules(b *border) []rule {
	var out []rule
	if b.link != "" {
		out = append(out, rule{"iifname " + b.link + " notrack", []expr.Any{
			meta(expr.MetaKeyIIFNAME), equal(linkName(b.link)...), &expr.Notrack{}, verdict(expr.VerdictAccept),
		}})
	}
	for _, f := range []struct {
		name string
		set  string
		from []expr.Any
	}{
		{"ip", setHosts4, source4(0)},
		{"ip6", setHosts6, source6(0)},
	} {
		out = append(out, rule{f.name + " saddr @" + f.set + " by another way: " + dropped, slices.Concat(f.from, []expr.Any{
			&expr.Lookup{SourceRegister: reg32, SetName: f.set},
			&expr.Fib{Register: reg32, FlagSADDR: true, FlagIIF: true, ResultOIF: true}, equal(0, 0, 0, 0),
			&expr.Counter{}, verdict(expr.VerdictDrop),
		})})
	}
	return append(out, rule{"notrack", []expr.Any{&expr.Notrack{}}})
}

func inputRules(b *border) []rule {
	return []rule{
		{"ip6 first fragment", slices.Concat(
			[]expr.Any{meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV6)}, firstFragment(),
			[]expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chainFragment}},
		)},
		{fmt.Sprintf("udp dport %d", b.port), append(toPort(b), &expr.Verdict{Kind: expr.VerdictJump, Chain: chainCheck})},
	}
}

func fragmentRules(b *border) []rule {
	pass := verdict(expr.VerdictReturn)
	return []rule{
		{"not udp", []expr.Any{meta(expr.MetaKeyL4PROTO), unequal(unix.IPPROTO_UDP), pass}},
		{fmt.Sprintf("not dport %d", b.port), []expr.Any{loadPort(), unequal(portBytes(b.port)...), pass}},
		{dropped, []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop)}},
	}
}

func checkRules(b *border) []rule {
	pass := verdict(expr.VerdictReturn)
	var out []rule
	if b.shared && b.link != "" {
		// Only by the underlay: else a container could send several datagrams in
		// one (UDP_SEGMENT), which the kernel cuts behind these rules, and only
		// the first would show its VNI.
		out = append(out, rule{"iifname " + b.link + " vni != @" + setVNIs, slices.Concat(
			[]expr.Any{meta(expr.MetaKeyIIFNAME), equal(linkName(b.link)...)}, loadVNI(0),
			[]expr.Any{&expr.Lookup{SourceRegister: reg32, SetName: setVNIs, Invert: true}, pass},
		)})
	}
	return append(out,
		rule{"ip", slices.Concat(source4(0), loadVNI(1), []expr.Any{&expr.Lookup{SourceRegister: reg32, SetName: setMembers4}, pass})},
		rule{"ip6", slices.Concat(source6(0), loadVNI(4), []expr.Any{&expr.Lookup{SourceRegister: reg32, SetName: setMembers6}, pass})},
		rule{dropped, []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop)}},
	)
}

func outputRules(b *border) []rule {
	return []rule{{fmt.Sprintf("udp dport %d", b.port), append(toPort(b), &expr.Verdict{Kind: expr.VerdictJump, Chain: chainSent})}}
}

func sentRules() []rule {
	return []rule{
		// Loading the user of a socket ends the rule where there is no socket.
		{"of a process: " + dropped, []expr.Any{
			meta(expr.MetaKeySKUID), &expr.Cmp{Op: expr.CmpOpGte, Register: reg32, Data: make([]byte, 4)},
			&expr.Counter{}, verdict(expr.VerdictDrop),
		}},
		{"notrack", []expr.Any{&expr.Notrack{}}},
	}
}

// toPort goes on with what is sent to the tunnels' UDP port.
func toPort(b *border) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_UDP), loadPort(), equal(portBytes(b.port)...)}
}

// loadPort reads the destination's port, which UDP has at 2 (RFC 768).
func loadPort() expr.Any { return load(expr.PayloadBaseTransportHeader, 2, 2, 0) }

func portBytes(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

// source4 and source6 go on with one family and put its source into a register.
func source4(reg uint32) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV4), load(expr.PayloadBaseNetworkHeader, 12, 4, reg)}
}

func source6(reg uint32) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV6), load(expr.PayloadBaseNetworkHeader, 8, 16, reg)}
}

// loadVNI puts the VNI into a register as a number in the host's byte order, the
// form that sets of type "mark" have. An integer of three bytes would do without
// the conversion, but "nft list ruleset" 1.0.6 aborts on sets of those.
func loadVNI(reg uint32) []expr.Any {
	r := reg32 + reg
	return []expr.Any{
		load(expr.PayloadBaseTransportHeader, vniOffset, 4, reg),
		&expr.Bitwise{SourceRegister: r, DestRegister: r, Len: 4, Mask: []byte{0, 0xff, 0xff, 0xff}, Xor: make([]byte, 4)},
		&expr.Byteorder{SourceRegister: r, DestRegister: r, Op: expr.ByteorderNtoh, Len: 4, Size: 4},
	}
}

// linkName is an interface's name as rules compare it.
func linkName(name string) []byte {
	out := make([]byte, unix.IFNAMSIZ)
	copy(out, name)
	return out
}

// vniKey is the VNI as the rules load it.
func vniKey(vni uint32) []byte { return binary.NativeEndian.AppendUint32(nil, vni) }

// elements are those of the table's sets by the sets' names, as keys.
func (b *border) elements() map[string][]nftables.SetElement {
	out := map[string][]nftables.SetElement{}
	add := func(set string, key []byte) { out[set] = append(out[set], nftables.SetElement{Key: key}) }
	for vni := range b.vnis {
		add(setVNIs, vniKey(vni))
	}
	for vni, vteps := range b.members {
		for _, a := range vteps {
			add(ofFamily(a, setMembers4, setMembers6), append(a.AsSlice(), vniKey(vni)...))
		}
	}
	for _, a := range b.hosts {
		add(ofFamily(a, setHosts4, setHosts6), a.AsSlice())
	}
	return out
}

// taken gives the border with b's rules whose sets have these keys.
func (b *border) taken(keys map[string][][]byte) *border {
	out := newBorder(b.port)
	out.link, out.shared = b.link, b.shared
	for set, list := range keys {
		for _, key := range list {
			addr, vni := key, uint32(0)
			if set != setHosts4 && set != setHosts6 {
				if len(key) < 4 {
					continue // no element of weft's
				}
				addr, vni = key[:len(key)-4], binary.NativeEndian.Uint32(key[len(key)-4:])
			}
			vtep, _ := netip.AddrFromSlice(addr)
			switch set {
			case setVNIs:
				out.vnis[vni] = true
			case setMembers4, setMembers6:
				out.members[vni] = append(out.members[vni], vtep)
			default:
				out.hosts = append(out.hosts, vtep)
			}
		}
	}
	out.hosts = inOrder(out.hosts)
	for vni, vteps := range out.members {
		out.members[vni] = inOrder(vteps)
	}
	return out
}

func ofFamily(a netip.Addr, four, six string) string {
	if a.Is4() {
		return four
	}
	return six
}
