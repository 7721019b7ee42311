package firewall

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

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
