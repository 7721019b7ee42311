package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// members is who may send to this host: a VXLAN packet with a VNI of weft's is
// dropped unless its source is a member of that network. VNIs that are not
// weft's pass, so another overlay can share the UDP port. Both checks are one
// look-up each, however many hosts there are.
type members struct {
	port uint16
	vnis map[uint32]bool
	ok   map[member]bool
}

type member struct {
	vtep netip.Addr
	vni  uint32
}

func membersOf(cfg overlay.Config) *members {
	m := &members{port: cfg.Port, vnis: map[uint32]bool{}, ok: map[member]bool{}}
	for _, n := range cfg.Networks {
		m.vnis[n.VNI] = true
		for _, vtep := range n.Members {
			m.ok[member{vtep, n.VNI}] = true
		}
	}
	return m
}

// The objects of the host's table.
const (
	setVNIs     = "vnis"
	setMembers4 = "members4"
	setMembers6 = "members6"
	chainInput  = "input"
	chainCheck  = "check"
)

// vniOffset is where the VNI lies behind the start of the UDP header, with the
// reserved byte before it (RFC 7348 section 5).
const vniOffset = 8 + 3

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

// elementsPerMessage keeps a message below netlink's 64 KiB for one attribute.
const elementsPerMessage = 500

// hostGuard is the host's table as Go values; making it sends nothing.
type hostGuard struct {
	table        *nftables.Table
	vnis, m4, m6 *nftables.Set
	input, check *nftables.Chain
	inputRules   []rule
	checkRules   []rule
}

func newHostGuard(port uint16) hostGuard {
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: guardTable}
	set := func(name string, key nftables.SetDatatype, several bool) *nftables.Set {
		order := binaryutil.NativeEndian
		if several {
			order = nil
		}
		return &nftables.Set{Table: t, Name: name, KeyType: key, Concatenation: several, KeyByteOrder: order}
	}
	before := *nftables.ChainPriorityFilter - 10 // so that a firewall that accepts does not matter
	g := hostGuard{
		table: t,
		vnis:  set(setVNIs, nftables.TypeMark, false),
		m4:    set(setMembers4, nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeMark), true),
		m6:    set(setMembers6, nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeMark), true),
		input: &nftables.Chain{
			Table: t, Name: chainInput, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookInput, Priority: &before,
		},
		check: &nftables.Chain{Table: t, Name: chainCheck},
	}
	const nh, th = expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	lookup := func(s *nftables.Set) expr.Any { return &expr.Lookup{SourceRegister: reg32, SetName: s.Name} }
	accept := verdict(expr.VerdictReturn)
	g.inputRules = []rule{{fmt.Sprintf("udp dport %d", port), slices.Concat([]expr.Any{
		meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_UDP),
		load(th, 2, 2, 0), equal(binary.BigEndian.AppendUint16(nil, port)...),
	}, loadVNI(0), []expr.Any{
		lookup(g.vnis),
		&expr.Verdict{Kind: expr.VerdictJump, Chain: chainCheck},
	})}}
	g.checkRules = []rule{
		{"ip", slices.Concat([]expr.Any{
			meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV4), load(nh, 12, 4, 0),
		}, loadVNI(1), []expr.Any{lookup(g.m4), accept})},
		{"ip6", slices.Concat([]expr.Any{
			meta(expr.MetaKeyNFPROTO), equal(unix.NFPROTO_IPV6), load(nh, 8, 16, 0),
		}, loadVNI(4), []expr.Any{lookup(g.m6), accept})},
		{dropped, []expr.Any{&expr.Counter{}, verdict(expr.VerdictDrop)}},
	}
	return g
}

// vniKey is the VNI as the rules load it.
func vniKey(vni uint32) []byte { return binary.NativeEndian.AppendUint32(nil, vni) }

func (g hostGuard) setOf(m member) *nftables.Set {
	if m.vtep.Is4() {
		return g.m4
	}
	return g.m6
}

func (m member) key() []byte { return slices.Concat(m.vtep.AsSlice(), vniKey(m.vni)) }

// setMembers makes the host's table hold the members of cfg's networks. fixed
// says what had been changed by others.
func (d *Dataplane) setMembers(cfg overlay.Config, verify bool) (fixed []string, err error) {
	want, have := membersOf(cfg), d.guard
	d.guard = nil
	defer func() {
		if err != nil {
			err = fmt.Errorf("guard the tunnels by nftables table inet %s: %w", guardTable, err)
		}
	}()
	c, err := connect(d.hostNS)
	if err != nil {
		return nil, err
	}
	g := newHostGuard(cfg.Port)
	if cfg.Partial {
		return nil, g.addTo(c, want)
	}
	if len(want.vnis) == 0 {
		if have != nil && len(have.vnis) == 0 && !verify {
			d.guard = want
			return nil, nil
		}
		if err = removeTable(c, g.table); err != nil {
			return nil, err
		}
		d.guard = want
		return nil, nil
	}
	was := have
	if verify || have == nil || have.port != want.port || len(have.vnis) == 0 {
		if have, err = g.read(c, want.port); err != nil {
			return nil, err
		}
	}
	if have == nil {
		if was != nil && was.port == want.port && len(was.vnis) > 0 {
			fixed = append(fixed, "nftables table inet "+guardTable+" was missing or changed")
		}
		if err := g.create(c, want); err != nil {
			return fixed, err
		}
		d.guard = want
		return fixed, nil
	}
	if was != nil && was.port == want.port {
		fixed = was.drift(have)
	}
	if err := g.update(c, have, want); err != nil {
		return fixed, err
	}
	d.guard = want
	return fixed, nil
}

// addTo makes the table hold want too, whatever else it holds.
func (g hostGuard) addTo(c *nftables.Conn, want *members) error {
	have, err := g.read(c, want.port)
	switch {
	case err != nil:
		return err
	case have == nil && len(want.vnis) == 0:
		return nil
	case have == nil:
		return g.create(c, want)
	}
	maps.Copy(want.vnis, have.vnis)
	maps.Copy(want.ok, have.ok)
	return g.update(c, have, want)
}

// drift says how have differs from what weft had left.
func (m *members) drift(have *members) (out []string) {
	for v := range m.vnis {
		if !have.vnis[v] {
			out = append(out, fmt.Sprintf("VNI %d was missing in nftables set %s", v, setVNIs))
		}
	}
	for v := range have.vnis {
		if !m.vnis[v] {
			out = append(out, fmt.Sprintf("VNI %d in nftables set %s was not weft's", v, setVNIs))
		}
	}
	for k := range m.ok {
		if !have.ok[k] {
			out = append(out, fmt.Sprintf("member %s of VNI %d was missing in nftables", k.vtep, k.vni))
		}
	}
	for k := range have.ok {
		if !m.ok[k] {
			out = append(out, fmt.Sprintf("member %s of VNI %d in nftables was not weft's", k.vtep, k.vni))
		}
	}
	return out
}

// create replaces the whole table in one transaction.
func (g hostGuard) create(c *nftables.Conn, want *members) error {
	c.AddTable(g.table) // so that deleting it cannot fail
	c.DelTable(g.table)
	c.AddTable(g.table)
	for _, s := range []*nftables.Set{g.vnis, g.m4, g.m6} {
		if err := c.AddSet(s, nil); err != nil {
			return err
		}
	}
	if err := g.change(c, &members{}, want); err != nil {
		return err
	}
	c.AddChain(g.check)
	addRules(c, g.table, g.check, g.checkRules)
	c.AddChain(g.input)
	addRules(c, g.table, g.input, g.inputRules)
	return c.Flush()
}

// update sends the difference between two states in one transaction.
func (g hostGuard) update(c *nftables.Conn, have, want *members) error {
	if err := g.change(c, have, want); err != nil {
		return err
	}
	return c.Flush()
}

func (g hostGuard) change(c *nftables.Conn, have, want *members) error {
	add, del := map[*nftables.Set][]nftables.SetElement{}, map[*nftables.Set][]nftables.SetElement{}
	for v := range want.vnis {
		if !have.vnis[v] {
			add[g.vnis] = append(add[g.vnis], nftables.SetElement{Key: vniKey(v)})
		}
	}
	for v := range have.vnis {
		if !want.vnis[v] {
			del[g.vnis] = append(del[g.vnis], nftables.SetElement{Key: vniKey(v)})
		}
	}
	for m := range want.ok {
		if !have.ok[m] {
			add[g.setOf(m)] = append(add[g.setOf(m)], nftables.SetElement{Key: m.key()})
		}
	}
	for m := range have.ok {
		if !want.ok[m] {
			del[g.setOf(m)] = append(del[g.setOf(m)], nftables.SetElement{Key: m.key()})
		}
	}
	for s, elements := range add {
		for chunk := range slices.Chunk(elements, elementsPerMessage) {
			if err := c.SetAddElements(s, chunk); err != nil {
				return err
			}
		}
	}
	for s, elements := range del {
		for chunk := range slices.Chunk(elements, elementsPerMessage) {
			if err := c.SetDeleteElements(s, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// read gives what the table holds, or nil if it is not there or not as weft
// makes it.
func (g hostGuard) read(c *nftables.Conn, port uint16) (*members, error) {
	chains, err := dump(func() ([]*nftables.Chain, error) { return c.ListChainsOfTableFamily(g.table.Family) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	hooked := false
	for _, ch := range chains {
		if ch.Table.Name == g.table.Name && ch.Name == chainInput {
			hooked = ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookInput
		}
	}
	if !hooked {
		return nil, nil
	}
	for ch, rules := range map[*nftables.Chain][]rule{g.input: g.inputRules, g.check: g.checkRules} {
		have, err := readRules(c, g.table, ch)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(have, texts(rules)) {
			return nil, nil
		}
	}
	out := &members{port: port, vnis: map[uint32]bool{}, ok: map[member]bool{}}
	for _, s := range []*nftables.Set{g.vnis, g.m4, g.m6} {
		elements, err := dump(func() ([]nftables.SetElement, error) { return c.GetSetElements(s) })
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list set %s: %w", s.Name, err)
		}
		for _, e := range elements {
			if len(e.Key) < 4 {
				return nil, nil
			}
			addr, vni := e.Key[:len(e.Key)-4], binary.NativeEndian.Uint32(e.Key[len(e.Key)-4:])
			if s == g.vnis {
				out.vnis[vni] = true
			} else if vtep, ok := netip.AddrFromSlice(addr); ok {
				out.ok[member{vtep, vni}] = true
			}
		}
	}
	return out, nil
}

// removeTable deletes a table; one that does not exist is no error, nor is a
// kernel without nftables.
func removeTable(c *nftables.Conn, t *nftables.Table) error {
	tables, err := dump(func() ([]*nftables.Table, error) { return c.ListTablesOfFamily(t.Family) })
	if err != nil {
		return nil
	}
	for _, have := range tables {
		if have.Name == t.Name {
			c.DelTable(t)
			return c.Flush()
		}
	}
	return nil
}
