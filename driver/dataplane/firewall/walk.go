package firewall

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// fate is what becomes of a packet in a chain.
type fate int

const (
	goesOn   fate = iota // to the end of the chain
	accepted             // or it may be
	droppedBy
)

// walk is a packet's way through chains.
type walk struct {
	Rules
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
	rules, err := w.Chain(ch)
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

func place(ch *nftables.Chain, rule int) string {
	return fmt.Sprintf("rule %d of chain %s", rule+1, ch.Name)
}
