package dataplane

import (
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// given is a firewall of one chain.
type given struct{ list []*nftables.Rule }

func (g given) rules(*nftables.Chain) ([]*nftables.Rule, error) { return g.list, nil }
func (g given) set(*nftables.Table, string) (*nftables.Set, []nftables.SetElement, error) {
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
			firewall: given{[]*nftables.Rule{{Exprs: []expr.Any{c.first}}, drop}},
			packet:   Packet{In: true, TCP: true, Dst: netip.MustParseAddr("192.0.2.1"), DstPort: 7947},
		}
		if got := w.through(&nftables.Chain{Name: "input"}, 0); got != c.want || w.err != nil {
			t.Errorf("%s: fate %d, want %d, error %v", name, got, c.want, w.err)
		}
	}
}
