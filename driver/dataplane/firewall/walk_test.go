package firewall

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// given are the rules of one chain.
type given struct{ list []*nftables.Rule }

func (g given) Chain(*nftables.Chain) ([]*nftables.Rule, error) { return g.list, nil }
func (g given) Set(*nftables.Table, string) (*nftables.Set, []nftables.SetElement, error) {
	return nil, nil, nil
}

// What a rule gives to a program, or what answers in the host's stead, is not
// dropped by the rules behind it. Not every kernel has these.
func TestWhatOthersDecideIsNotDropped(t *testing.T) {
	drop := &nftables.Rule{Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}}
	for name, c := range map[string]struct {
		first expr.Any
		want  fate
	}{
		"nothing":  {&expr.Counter{}, droppedBy},
		"queue":    {&expr.Queue{}, accepted},
		"synproxy": {&expr.SynProxy{}, accepted},
	} {
		w := walk{
			Rules:  given{[]*nftables.Rule{{Exprs: []expr.Any{c.first}}, drop}},
			packet: Packet{In: true, TCP: true, Dst: netip.MustParseAddr("192.0.2.1"), DstPort: 7947},
		}
		if got := w.through(&nftables.Chain{Name: "input"}, 0); got != c.want || w.err != nil {
			t.Errorf("%s: fate %d, want %d, error %v", name, got, c.want, w.err)
		}
	}
}

// The kernel keeps no connection for what the tunnels send and get, so a rule
// that lets new connections in lets none of it in.
func TestATunnelsPacketIsNoNewConnection(t *testing.T) {
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	state := func(bits uint32) []expr.Any {
		return []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			accept,
		}
	}
	iptables := func(bits uint16) []expr.Any {
		info := &xt.ConntrackMtinfo3{}
		info.MatchFlags, info.StateMask = uint16(xt.ConntrackState), bits
		return []expr.Any{&expr.Match{Name: "conntrack", Rev: 3, Info: info}, accept}
	}
	drop := &nftables.Rule{Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}}
	for name, c := range map[string]struct {
		rule               []expr.Any
		tracked, untracked fate
	}{
		"ct state new":                 {state(expr.CtStateBitNEW), accepted, droppedBy},
		"ct state untracked":           {state(expr.CtStateBitUNTRACKED), droppedBy, accepted},
		"ct state new, untracked":      {state(expr.CtStateBitNEW | expr.CtStateBitUNTRACKED), accepted, accepted},
		"--ctstate NEW":                {iptables(uint16(expr.CtStateBitNEW)), accepted, droppedBy},
		"--ctstate NEW,UNTRACKED":      {iptables(uint16(expr.CtStateBitNEW | expr.CtStateBitUNTRACKED)), accepted, accepted},
		"--ctstate ESTABLISHED,UNTRAC": {iptables(uint16(expr.CtStateBitESTABLISHED | expr.CtStateBitUNTRACKED)), droppedBy, accepted},
	} {
		for untracked, want := range map[bool]fate{false: c.tracked, true: c.untracked} {
			w := walk{
				Rules:  given{[]*nftables.Rule{{Exprs: c.rule}, drop}},
				packet: Packet{In: true, Dst: netip.MustParseAddr("192.0.2.1"), DstPort: 4789, Untracked: untracked},
			}
			if got := w.through(&nftables.Chain{Name: "input"}, 0); got != want || w.err != nil {
				t.Errorf("%s, untracked %t: fate %d, want %d, error %v", name, untracked, got, want, w.err)
			}
		}
	}
}
