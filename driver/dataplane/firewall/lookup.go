package firewall

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

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
	set, elements, err := w.Set(t, l.SetName)
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
