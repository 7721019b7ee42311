package dataplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Drop is what a host's firewall does to a packet.
type Drop struct {
	Family, Table, Chain string // of the base chain, as nft names them
	Rule                 string // "its policy", or which rule of which chain
}

// Drops gives, for each packet, what of the host's nftables rules drops it for
// sure; nil: nothing. Rules at a link's ingress, and those of the older
// iptables-legacy, are not seen.
func (i *Inspector) Drops(ctx context.Context, packets []Packet) ([]*Drop, error) {
	c, err := connect(i.hostNS)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	chains, err := dump(c.ListChains)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	chains = slices.DeleteFunc(chains, func(ch *nftables.Chain) bool {
		return ch.Hooknum == nil || ch.Priority == nil || ch.Type != nftables.ChainTypeFilter || ch.Table.Name == guardTable
	})
	slices.SortStableFunc(chains, func(a, b *nftables.Chain) int { // as packets meet them
		return cmp.Or(cmp.Compare(*a.Hooknum, *b.Hooknum), cmp.Compare(*a.Priority, *b.Priority))
	})
	links, err := i.host.links()
	if err != nil {
		return nil, err
	}
	rules := &ruleset{conn: c, chains: map[string][]*nftables.Rule{}, sets: map[string]namedSet{}}
	out := make([]*Drop, len(packets))
	for n, p := range packets {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if l := links[p.Link]; l != nil {
			p.index = uint32(l.Attrs().Index)
		}
		w := walk{firewall: rules, packet: p}
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
				out[n] = drop
				break
			}
		}
	}
	return out, nil
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

func place(ch *nftables.Chain, rule int) string {
	return fmt.Sprintf("rule %d of chain %s", rule+1, ch.Name)
}

// ruleset reads the kernel's rules and remembers them.
type ruleset struct {
	conn   *nftables.Conn
	chains map[string][]*nftables.Rule
	sets   map[string]namedSet
}

type namedSet struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

func (r *ruleset) rules(ch *nftables.Chain) ([]*nftables.Rule, error) {
	key := fmt.Sprintf("%d/%s/%s", ch.Table.Family, ch.Table.Name, ch.Name)
	if rules, ok := r.chains[key]; ok {
		return rules, nil
	}
	rules, err := dump(func() ([]*nftables.Rule, error) { return r.conn.GetRules(ch.Table, ch) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list rules of chain %s: %w", ch.Name, err)
	}
	r.chains[key] = rules
	return rules, nil
}

func (r *ruleset) set(t *nftables.Table, name string) (*nftables.Set, []nftables.SetElement, error) {
	key := fmt.Sprintf("%d/%s/%s", t.Family, t.Name, name)
	if s, ok := r.sets[key]; ok {
		return s.set, s.elements, nil
	}
	s, err := r.conn.GetSetByName(t, name)
	if err != nil {
		return nil, nil, fmt.Errorf("read set %s: %w", name, err)
	}
	elements, err := dump(func() ([]nftables.SetElement, error) { return r.conn.GetSetElements(s) })
	if err != nil {
		return nil, nil, fmt.Errorf("list set %s: %w", name, err)
	}
	r.sets[key] = namedSet{s, elements}
	return s, elements, nil
}
