package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ownTable is the name of weft's nftables tables: the inet one of the host's
// namespace and the netdev one of a network's namespace. They are weft's alone.
const ownTable = "weft"

// dropped names the rules that count and drop.
const dropped = "drop"

// rule is one nftables rule with a text that says all of what it does. The text
// is stored with the rule, so reading back compares texts, not expressions.
type rule struct {
	text  string
	exprs []expr.Any
}

// partAfter is how long a socket of nftables stays open after its last use. Who closes
// one has to wait until the kernel has freed what transactions in that namespace have
// replaced (nft_rcv_nl_event in the kernel's nf_tables_api.c): measured 10 ms, with the
// lock of the namespace's tables held. By then it is done.
const partAfter = 100 * time.Millisecond

// connect opens nftables in a namespace; part is called after the last use. Until a
// moment later the namespace lives.
func connect(ns netns.NsHandle) (c *nftables.Conn, part func(), err error) {
	c, err = nftables.New(nftables.WithNetNSFd(int(ns)), nftables.AsLasting())
	if err != nil {
		return nil, nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, func() { time.AfterFunc(partAfter, func() { _ = c.CloseLasting() }) }, nil
}

// texts gives the rules' texts, and those of a chain's rules as read back.
func texts(rules []rule) []string {
	out := make([]string, 0, len(rules))
	for _, r := range rules {
		out = append(out, r.text)
	}
	return out
}

// readRules gives the texts of a chain's rules. A chain that does not exist has none.
func readRules(c *nftables.Conn, t *nftables.Table, ch *nftables.Chain) ([]string, error) {
	rules, err := dump(func() ([]*nftables.Rule, error) { return c.GetRules(t, ch) })
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rules of chain %s: %w", ch.Name, err)
	}
	var out []string
	for _, r := range rules {
		out = append(out, string(r.UserData))
	}
	return out, nil
}

func addRules(c *nftables.Conn, t *nftables.Table, ch *nftables.Chain, rules []rule) {
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: r.exprs, UserData: []byte(r.text)})
	}
}

// Registers as in linux/netfilter/nf_tables.h: NFT_REG32_00 and the next ones,
// of four bytes each, which a set of several fields reads in a row.
const reg32 = unix.NFT_REG32_00

// load reads length bytes at offset from a header into 32-bit register number reg.
func load(base expr.PayloadBase, offset, length uint32, reg uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: reg32 + reg, Base: base, Offset: offset, Len: length}
}

// equal goes on with the rule only if the register holds data.
func equal(data ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg32, Data: data}
}

func unequal(data ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpNeq, Register: reg32, Data: data}
}

// mask keeps the bits of the register that are set in bits.
func mask(bits ...byte) expr.Any {
	n := uint32(len(bits))
	return &expr.Bitwise{SourceRegister: reg32, DestRegister: reg32, Len: n, Mask: bits, Xor: bytes.Repeat([]byte{0}, int(n))}
}

// firstFragment goes on with an IPv6 packet that is the first fragment of
// another. The offset is 13 bits of two bytes.
func firstFragment() []expr.Any {
	return []expr.Any{fragmentField(2, 2), mask(0xff, 0xf8), equal(0, 0)}
}

// fragmentField reads some bytes of an IPv6 fragment header (RFC 8200 section
// 4.5), or ends the rule where there is none.
func fragmentField(offset, length uint32) expr.Any {
	const header = 44
	return &expr.Exthdr{DestRegister: reg32, Type: header, Offset: offset, Len: length, Op: expr.ExthdrOpIpv6}
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: reg32} }

func verdict(kind expr.VerdictKind) expr.Any { return &expr.Verdict{Kind: kind} }
