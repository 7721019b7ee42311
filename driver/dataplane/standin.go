package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// standIn answers in a sandbox while no weft does: a table that outlives the
// process. Names that only weft knows would go to the nameservers that Docker asks,
// which learn them and say that there are none. Queries for them by UDP become
// their own answers instead, SERVFAIL, by a few bytes that the kernel writes:
// the client asks again later. It ends by itself, so that what weft leaves behind
// is forgotten.
type standIn struct {
	table   *nftables.Table
	alive   *nftables.Set
	sets    map[int]*nftables.Set // by the length of their names
	names   map[string]bool       // as the sets have them
	renewed time.Time
}

const (
	standInTable = "weft-names"
	// standInPriority is after the live interception, which leaves nothing to it,
	// and before the kernel follows flows.
	standInPriority = rawPriority + 10
	// longestName is how many bytes of a name tell it from others: what the
	// registers of nftables hold.
	longestName = 64
	// maxNames bounds a sandbox's names, and someNames one transaction.
	maxNames, someNames = 4096, 256
)

// Where things are behind the start of a UDP header (RFC 768, RFC 1035 section 4.1).
const (
	dnsFlags  = 8 + 2
	dnsCount  = 8 + 4
	dnsName   = 8 + 12
	servFail  = 0x8182 // a response, recursion desired and available, code 2
	sourceIP  = 12     // in IPv4's header (RFC 791)
	destIP    = 16
	foldLower = 0x20 // the bit by which lower case differs
)

// StandIn has the kernel answer SERVFAIL to queries for the names, as they are in
// queries, while nobody else answers and for the time of ttl from now on. It is
// called again to go on and to have other names; little happens if nothing is new.
func (r *Resolver) StandIn(names [][]byte, ttl time.Duration) error {
	want := map[string]bool{}
	for _, name := range names[:min(len(names), maxNames)] {
		want[string(key(name))] = true
	}
	now := time.Now()
	if r.standIn != nil && maps.Equal(want, r.standIn.names) && now.Sub(r.standIn.renewed) < ttl/3 {
		return nil
	}
	if r.standIn == nil && len(want) == 0 {
		return nil
	}
	if err := r.stand(want, ttl, now); err != nil {
		r.standIn = nil // made anew next time
		return fmt.Errorf("have names refused in sandbox %s when weft is gone: %w", r.path, err)
	}
	return nil
}

func (r *Resolver) stand(want map[string]bool, ttl time.Duration, now time.Time) error {
	if r.standIn == nil {
		s, err := newStandIn(r.ns, ttl)
		if err != nil {
			return err
		}
		r.standIn, s.renewed = s, now
	}
	s := r.standIn
	var add, del []string
	for name := range want {
		if !s.names[name] {
			add = append(add, name)
		}
	}
	for name := range s.names {
		if !want[name] {
			del = append(del, name)
		}
	}
	for some := range slices.Chunk(add, someNames) {
		if err := s.change(r.ns, some, (*nftables.Conn).SetAddElements); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(del, someNames) {
		if err := s.change(r.ns, some, (*nftables.Conn).SetDeleteElements); err != nil {
			return err
		}
	}
	s.names = want
	if now.Sub(s.renewed) < ttl/3 {
		return nil
	}
	s.renewed = now
	return s.renew(r.ns, ttl)
}

// key is how a set has a name: in lower case, with the bit of it in all bytes, and
// its beginning if it is long.
func key(name []byte) []byte {
	out := bytes.Clone(name[:min(len(name), longestName)])
	for i := range out {
		out[i] |= foldLower
	}
	return out
}

// newStandIn makes the table without names, in place of one that is left.
func newStandIn(ns netns.NsHandle, ttl time.Duration) (*standIn, error) {
	c, part, err := connect(ns)
	if err != nil {
		return nil, err
	}
	defer part()
	s := &standIn{table: &nftables.Table{Name: standInTable, Family: nftables.TableFamilyIPv4}, sets: map[int]*nftables.Set{}}
	s.alive = &nftables.Set{Table: s.table, Name: "alive", ID: 1, KeyType: nftables.TypeIPAddr, HasTimeout: true}
	c.AddTable(s.table)
	c.DelTable(s.table)
	c.AddTable(s.table)
	if err := c.AddSet(s.alive, []nftables.SetElement{{Key: dockerResolver[:], Timeout: ttl}}); err != nil {
		return nil, err
	}
	priority := nftables.ChainPriority(standInPriority)
	fail := c.AddChain(&nftables.Chain{Name: "fail", Table: s.table})
	known := c.AddChain(&nftables.Chain{Name: "names", Table: s.table})
	out := c.AddChain(&nftables.Chain{Name: "out", Table: s.table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: &priority})
	addRules(c, s.table, fail, []rule{becomesAnswer()})
	addRules(c, s.table, out, []rule{
		othersPass(),
		ownPass(),
		{text: "plain queries of one question are looked at", exprs: []expr.Any{
			load(expr.PayloadBaseNetworkHeader, destIP, 4, 0),
			&expr.Lookup{SourceRegister: reg32, SetName: s.alive.Name, SetID: s.alive.ID},
			meta(expr.MetaKeyL4PROTO), equal(unix.IPPROTO_UDP),
			load(expr.PayloadBaseTransportHeader, destinationPort, 2, 0), equal(binaryutil.BigEndian.PutUint16(dnsPort)...),
			load(expr.PayloadBaseTransportHeader, dnsFlags, 1, 0), mask(0xf8), equal(0), // query, opcode 0
			load(expr.PayloadBaseTransportHeader, dnsCount, 2, 0), equal(0, 1),
			&expr.Verdict{Kind: expr.VerdictJump, Chain: known.Name},
		}},
	})
	return s, c.Flush()
}

// becomesAnswer makes a query the answer to itself. The checksums of both headers
// stay what they are when addresses and ports change places.
func becomesAnswer() rule {
	const network, transport = expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	write := func(base expr.PayloadBase, offset, length, reg uint32) *expr.Payload {
		return &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: reg32 + reg, Base: base, Offset: offset, Len: length}
	}
	flags := write(transport, dnsFlags, 2, 0)
	flags.CsumType, flags.CsumOffset = expr.CsumTypeInet, udpChecksum
	return rule{text: "the query becomes its answer, SERVFAIL", exprs: []expr.Any{
		&expr.Notrack{},
		load(network, sourceIP, 4, 0), load(network, destIP, 4, 1),
		write(network, sourceIP, 4, 1), write(network, destIP, 4, 0),
		load(transport, sourcePort, 2, 0), load(transport, destinationPort, 2, 1),
		write(transport, sourcePort, 2, 1), write(transport, destinationPort, 2, 0),
		&expr.Immediate{Register: reg32, Data: binaryutil.BigEndian.PutUint16(servFail)}, flags,
		verdict(expr.VerdictAccept),
	}}
}

// change adds names to the sets or takes them out, and makes sets that are not
// there yet, each with its rule.
func (s *standIn) change(ns netns.NsHandle, names []string, do func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error) error {
	c, part, err := connect(ns)
	if err != nil {
		return err
	}
	defer part()
	elements := map[int][]nftables.SetElement{}
	for _, name := range names {
		elements[len(name)] = append(elements[len(name)], nftables.SetElement{Key: []byte(name)})
	}
	for length, list := range elements {
		if s.sets[length] == nil {
			if err := s.addSet(c, length); err != nil {
				return err
			}
		}
		if err := do(c, s.sets[length], list); err != nil {
			return err
		}
	}
	return c.Flush()
}

func (s *standIn) addSet(c *nftables.Conn, length int) error {
	kind := nftables.TypeString
	kind.Bytes = uint32(length)
	set := &nftables.Set{Table: s.table, Name: fmt.Sprintf("names%d", length), ID: uint32(1 + length), KeyType: kind}
	if err := c.AddSet(set, nil); err != nil {
		return err
	}
	s.sets[length] = set
	exprs := []expr.Any{load(expr.PayloadBaseTransportHeader, dnsName, uint32(length), 0)}
	for at := 0; at < length; at += bitwiseBytes {
		n := min(bitwiseBytes, length-at)
		reg := reg32 + uint32(at/4)
		exprs = append(exprs, &expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: uint32(n),
			Mask: bytes.Repeat([]byte{^byte(foldLower)}, n), Xor: bytes.Repeat([]byte{foldLower}, n),
		})
	}
	exprs = append(exprs, &expr.Lookup{SourceRegister: reg32, SetName: set.Name, SetID: set.ID}, &expr.Verdict{Kind: expr.VerdictGoto, Chain: "fail"})
	addRules(c, s.table, &nftables.Chain{Name: "names", Table: s.table}, []rule{{text: fmt.Sprintf("names of %d bytes", length), exprs: exprs}})
	return nil
}

// bitwiseBytes is the most that one expression takes (struct nft_data).
const bitwiseBytes = 16

func (s *standIn) renew(ns netns.NsHandle, ttl time.Duration) error {
	c, part, err := connect(ns)
	if err != nil {
		return err
	}
	defer part()
	c.FlushSet(s.alive)
	if err := c.SetAddElements(s.alive, []nftables.SetElement{{Key: dockerResolver[:], Timeout: ttl}}); err != nil {
		return err
	}
	return c.Flush()
}

// removeStandIn takes the table away, if there is one.
func removeStandIn(ns netns.NsHandle) error {
	c, part, err := connect(ns)
	if err != nil {
		return err
	}
	defer part()
	c.DelTable(&nftables.Table{Name: standInTable, Family: nftables.TableFamilyIPv4})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove table %s: %w", standInTable, err)
	}
	return nil
}
