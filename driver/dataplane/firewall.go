package dataplane

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// firewall is a host's nftables rules, those of iptables-nft among them, as far
// as a packet to this host or from it meets them.
type firewall interface {
	rules(ch *nftables.Chain) ([]*nftables.Rule, error)
	set(t *nftables.Table, name string) (*nftables.Set, []nftables.SetElement, error)
}

// answer is a truth that may not be known: rules look at more than what is
// known of a packet beforehand.
type answer int

const (
	no answer = iota
	maybe
	yes
)

func truth(b bool) answer {
	if b {
		return yes
	}
	return no
}

// fate is what becomes of a packet in a chain.
type fate int

const (
	goesOn   fate = iota // to the end of the chain
	accepted             // or it may be
	droppedBy
)

// walk is a packet's way through chains.
type walk struct {
	firewall
	packet    Packet
	untracked bool   // perhaps: then the kernel knows nothing of its connection
	where     string // the chain and the rule that drops it
	err       error
}

// maxJumps is the kernel's (NFT_JUMP_STACK_SIZE in net/netfilter/nf_tables.h).
const maxJumps = 16

// through follows the packet through a chain. Doubt is for the packet: only what
// drops it for sure does. After a return or a goto that is not certain, nothing
// in the rest of the chain is.
func (w *walk) through(ch *nftables.Chain, depth int) fate {
	if depth > maxJumps {
		return goesOn
	}
	rules, err := w.rules(ch)
	if err != nil {
		w.err = err
		return accepted
	}
	doubt := false
	for n, r := range rules {
		match, v := w.rule(ch.Table, r)
		if match == no || v == nil {
			continue
		}
		sure := match == yes && !doubt
		switch v.Kind {
		case expr.VerdictAccept, expr.VerdictQueue, expr.VerdictStolen, expr.VerdictStop:
			return accepted
		case expr.VerdictDrop:
			if sure {
				w.where = place(ch, n)
				return droppedBy
			}
		case expr.VerdictReturn:
			if sure {
				return goesOn
			}
			doubt = true
		case expr.VerdictJump, expr.VerdictGoto:
			to := &nftables.Chain{Table: ch.Table, Name: v.Chain}
			f := w.through(to, depth+1)
			switch {
			case f == accepted, f == droppedBy && sure:
				return f
			case v.Kind == expr.VerdictGoto && sure:
				return goesOn
			case v.Kind == expr.VerdictGoto:
				doubt = true
			}
		default: // it goes on with the next rule
		}
	}
	return goesOn
}

// rule says whether the packet matches, and the verdict, nil if there is none.
// Expressions that the library does not know (byteorder, socket, rt, osf, tproxy
// and others in its v0.3.0) are missing from r.Exprs, so a rule with one is judged
// by the rest of it.
func (w *walk) rule(t *nftables.Table, r *nftables.Rule) (answer, *expr.Verdict) {
	match := yes
	var regs registers
	for _, e := range r.Exprs {
		m := yes
		switch e := e.(type) {
		case *expr.Meta:
			if !e.SourceRegister {
				regs.set(e.Register, w.packet.meta(e.Key))
			}
		case *expr.Payload:
			if e.OperationType == expr.PayloadLoad {
				regs.set(e.DestRegister, w.packet.header(e.Base).part(int(e.Offset), int(e.Len)))
			}
		case *expr.Ct:
			if !e.SourceRegister {
				regs.set(e.Register, w.tracked(e.Key))
			}
		case *expr.Immediate:
			regs.set(e.Register, sure(e.Data...))
		case *expr.Bitwise:
			regs.set(e.DestRegister, masked(regs.get(e.SourceRegister, int(e.Len)), e))
		case *expr.Cmp:
			m = compare(regs.get(e.Register, len(e.Data)), e.Op, e.Data)
		case *expr.Range:
			f := regs.get(e.Register, len(e.FromData))
			if m = maybe; f.all() {
				in := bytes.Compare(f.data, e.FromData) >= 0 && bytes.Compare(f.data, e.ToData) <= 0
				m = truth(in == (e.Op == expr.CmpOpEq))
			}
		case *expr.Lookup:
			var v *expr.Verdict
			if m, v = w.lookup(t, e, &regs); v != nil && m != no {
				return min(match, m), v
			}
		case *expr.Match:
			m = w.match(e)
		case *expr.Verdict:
			return match, e
		case *expr.Reject:
			return match, &expr.Verdict{Kind: expr.VerdictDrop}
		case *expr.Queue, *expr.SynProxy: // to who decides, or answers, in the host's stead
			return match, &expr.Verdict{Kind: expr.VerdictAccept}
		case *expr.Target:
			if v := target(e); v != nil {
				return match, v
			}
			w.untracked = w.untracked || e.Name == "CT" // --notrack is one of its options
		case *expr.Notrack:
			w.untracked = true
		case *expr.Counter, *expr.Log, *expr.Objref:
		default: // it may write any register
			m, regs = maybe, registers{}
		}
		if match = min(match, m); match == no {
			return no, nil
		}
	}
	return match, nil
}

// tracked gives what the kernel knows of the packet's connection, of which it is
// the first packet and which no rule has translated. (The kernel notes in the
// status too that it has looked for such rules, but no rule can ask for that.)
func (w *walk) tracked(key expr.CtKey) field {
	switch {
	case w.packet.Untracked && key == expr.CtKeySTATE:
		return sure(binary.NativeEndian.AppendUint32(nil, expr.CtStateBitUNTRACKED)...)
	case w.untracked, w.packet.Untracked:
		return field{}
	case key == expr.CtKeySTATE:
		return sure(binary.NativeEndian.AppendUint32(nil, expr.CtStateBitNEW)...)
	case key == expr.CtKeySTATUS:
		return sure(make([]byte, 4)...)
	default:
		return field{}
	}
}

// registers are those of the kernel: 16 of four bytes, of which four in a row
// have a name too (linux/netfilter/nf_tables.h).
type registers struct {
	data  [64]byte
	known [64]bool
}

func registerAt(n uint32) int {
	if n >= reg32 {
		return int(n-reg32) * 4
	}
	return int(n-1) * 16 // NFT_REG_1 is 1
}

func (r *registers) set(n uint32, f field) {
	at := registerAt(n)
	if n == 0 || at >= len(r.data) {
		return // the verdict's
	}
	for i := range min(16, len(r.data)-at) { // what is not written is not known
		r.known[at+i] = false
	}
	copy(r.data[at:], f.data)
	copy(r.known[at:], f.known)
}

func (r *registers) get(n uint32, length int) field {
	at := registerAt(n)
	if n == 0 || at+length > len(r.data) {
		return newField(length)
	}
	return field{r.data[:], r.known[:]}.part(at, length)
}

func masked(f field, b *expr.Bitwise) field {
	if len(b.Mask) != len(f.data) || len(b.Xor) != len(f.data) { // a shift, or newer than this
		return newField(len(f.data))
	}
	for i := range f.data {
		f.data[i] = f.data[i]&b.Mask[i] ^ b.Xor[i]
		f.known[i] = f.known[i] || b.Mask[i] == 0
	}
	return f
}

func compare(f field, op expr.CmpOp, data []byte) answer {
	if !f.all() {
		return maybe
	}
	c := bytes.Compare(f.data, data)
	switch op {
	case expr.CmpOpEq:
		return truth(c == 0)
	case expr.CmpOpNeq:
		return truth(c != 0)
	case expr.CmpOpLt:
		return truth(c < 0)
	case expr.CmpOpLte:
		return truth(c <= 0)
	case expr.CmpOpGt:
		return truth(c > 0)
	case expr.CmpOpGte:
		return truth(c >= 0)
	}
	return maybe
}

// lookup says whether a set has what the register holds, and the verdict if it
// is a map of verdicts.
func (w *walk) lookup(t *nftables.Table, l *expr.Lookup, regs *registers) (answer, *expr.Verdict) {
	perhaps := &expr.Verdict{Kind: expr.VerdictAccept}
	if !l.IsDestRegSet {
		perhaps = nil
	}
	set, elements, err := w.set(t, l.SetName)
	if err != nil {
		w.err = err
		return maybe, perhaps
	}
	if len(elements) == 0 {
		return truth(l.Invert), nil
	}
	f := regs.get(l.SourceRegister, len(elements[0].Key))
	if !f.all() || set.Interval && (set.Concatenation || elements[0].KeyEnd != nil) {
		return maybe, perhaps
	}
	found := -1
	for i, e := range elements {
		switch c := bytes.Compare(e.Key, f.data); {
		case !set.Interval && c == 0:
			found = i
		case !set.Interval || c > 0:
		case found < 0, bytes.Compare(e.Key, elements[found].Key) > 0,
			bytes.Equal(e.Key, elements[found].Key) && !e.IntervalEnd: // one interval's end is the next one's start
			found = i
		}
	}
	in := found >= 0 && !elements[found].IntervalEnd
	if !l.IsDestRegSet {
		return truth(in != l.Invert), nil
	}
	switch {
	case !in:
		return no, nil
	case l.DestRegister == unix.NFT_REG_VERDICT:
		v := verdictIn(elements[found].Val)
		if v == nil {
			return maybe, perhaps
		}
		return yes, v
	}
	regs.set(l.DestRegister, sure(elements[found].Val...))
	return yes, nil
}

// verdictIn decodes the verdict of an element, two netlink attributes: the code
// and, if it goes to a chain, its name. nil: it cannot be read.
func verdictIn(data []byte) *expr.Verdict {
	const head = 4 // of an attribute
	if len(data) < head+4 {
		return nil
	}
	v := &expr.Verdict{Kind: expr.VerdictKind(int32(binary.BigEndian.Uint32(data[head:])))}
	if name := head + 4 + head; len(data) > name {
		v.Chain = string(bytes.TrimRight(data[name:], "\x00"))
	}
	return v
}

// match says whether the packet matches one of iptables' extensions.
func (w *walk) match(e *expr.Match) answer {
	ports := func(src, dst [2]uint16, notSrc, notDst bool) answer {
		in := func(p uint16, r [2]uint16, not bool) answer {
			switch {
			case r == [2]uint16{0, 0xffff} && !not:
				return yes
			case p == 0:
				return maybe
			}
			return truth((p >= r[0] && p <= r[1]) != not)
		}
		return min(in(w.packet.SrcPort, src, notSrc), in(w.packet.DstPort, dst, notDst))
	}
	state := func(b xt.ConntrackMtinfoBase, mask uint16) answer {
		if w.untracked || b.MatchFlags&^uint16(xt.ConntrackState|xt.ConntrackStateAlias) != 0 {
			return maybe
		}
		bit := uint16(expr.CtStateBitNEW)
		if w.packet.Untracked {
			bit = uint16(expr.CtStateBitUNTRACKED)
		}
		not := b.InvertFlags&uint16(xt.ConntrackState) != 0
		return truth((mask&bit != 0) != not)
	}
	switch info := e.Info.(type) {
	case *xt.Udp:
		if w.packet.TCP {
			return no
		}
		return ports(info.SrcPorts, info.DstPorts, info.InvFlags&xt.UdpInvSrcPorts != 0, info.InvFlags&xt.UdpInvDestPorts != 0)
	case *xt.Tcp:
		if !w.packet.TCP {
			return no
		}
		m := ports(info.SrcPorts, info.DstPorts, info.InvFlags&xt.TcpInvSrcPorts != 0, info.InvFlags&xt.TcpInvDestPorts != 0)
		if info.FlagsMask != 0 || info.Option != 0 {
			m = min(m, maybe)
		}
		return m
	case *xt.ConntrackMtinfo1:
		return state(info.ConntrackMtinfoBase, uint16(info.StateMask))
	case *xt.ConntrackMtinfo2:
		return state(info.ConntrackMtinfoBase, info.StateMask)
	case *xt.ConntrackMtinfo3:
		return state(info.ConntrackMtinfoBase, info.StateMask)
	}
	if e.Name == "comment" {
		return yes
	}
	return maybe
}

// target is the verdict of one of iptables' targets, nil if it has none.
func target(e *expr.Target) *expr.Verdict {
	switch e.Name {
	case "REJECT":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case "NFQUEUE", "SYNPROXY":
		return &expr.Verdict{Kind: expr.VerdictAccept}
	}
	return nil
}
