package firewall

import (
	"cmp"
	"slices"

	"github.com/google/nftables"
)

// Drop is what a host's firewall does to a packet.
type Drop struct {
	Family, Table, Chain string // of the base chain, as nft names them
	Rule                 string // "its policy", or which rule of which chain
}

// Rules are a host's, those of iptables-nft among them, as the kernel has them.
type Rules interface {
	// Chain gives the rules of a chain, in order; none if there is no such chain.
	Chain(ch *nftables.Chain) ([]*nftables.Rule, error)
	// Set gives a set of the table with its elements.
	Set(t *nftables.Table, name string) (*nftables.Set, []nftables.SetElement, error)
}

// InOrder gives those of the chains whose rules can drop packets, as packets meet
// them.
func InOrder(chains []*nftables.Chain) []*nftables.Chain {
	out := slices.DeleteFunc(slices.Clone(chains), func(ch *nftables.Chain) bool {
		return ch.Hooknum == nil || ch.Priority == nil || ch.Type != nftables.ChainTypeFilter
	})
	slices.SortStableFunc(out, func(a, b *nftables.Chain) int {
		return cmp.Or(cmp.Compare(*a.Hooknum, *b.Hooknum), cmp.Compare(*a.Priority, *b.Priority))
	})
	return out
}

// Drops gives what drops the packet for sure on its way through the base chains,
// which are in order; nil: nothing.
func Drops(rules Rules, chains []*nftables.Chain, p Packet) (*Drop, error) {
	w := walk{Rules: rules, packet: p}
	for _, ch := range chains {
		if !meets(ch, p) {
			continue
		}
		fate := w.through(ch, 0)
		if w.err != nil {
			return nil, w.err
		}
		drop := &Drop{Family: familyName(ch.Table.Family), Table: ch.Table.Name, Chain: ch.Name, Rule: w.where}
		if fate == goesOn && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
			fate, drop.Rule = droppedBy, "its policy"
		}
		if fate == droppedBy {
			return drop, nil
		}
	}
	return nil, nil
}

// meets says whether the packet comes by the base chain.
func meets(ch *nftables.Chain, p Packet) bool {
	switch ch.Table.Family {
	case nftables.TableFamilyIPv4:
		if !p.Dst.Is4() {
			return false
		}
	case nftables.TableFamilyIPv6:
		if p.Dst.Is4() {
			return false
		}
	case nftables.TableFamilyINet:
	default:
		return false
	}
	if p.In {
		return *ch.Hooknum == *nftables.ChainHookPrerouting || *ch.Hooknum == *nftables.ChainHookInput
	}
	return *ch.Hooknum == *nftables.ChainHookOutput || *ch.Hooknum == *nftables.ChainHookPostrouting
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	default:
		return "inet"
	}
}
