package dataplane

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane/firewall"
)

// Drops gives, for each packet, the nftables rule of the host that drops it for
// sure; nil: there is none. Rules at a link's ingress, and those of the older
// iptables-legacy, are not seen.
func (i *Inspector) Drops(ctx context.Context, packets []firewall.Packet) ([]*firewall.Drop, error) {
	c, part, err := connect(i.hostNS)
	if err != nil {
		return nil, err
	}
	defer part()
	chains, err := dump(c.ListChains)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	chains = firewall.InOrder(slices.DeleteFunc(chains, func(ch *nftables.Chain) bool { return ch.Table.Name == ownTable }))
	links, err := i.host.links()
	if err != nil {
		return nil, err
	}
	rules := &ruleset{conn: c, chains: map[string][]*nftables.Rule{}, sets: map[string]namedSet{}}
	out := make([]*firewall.Drop, len(packets))
	for n, p := range packets {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if l := links[p.Link]; l != nil {
			p.Index = uint32(l.Attrs().Index)
		}
		if out[n], err = firewall.Drops(rules, chains, p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ruleset reads the kernel's rules and remembers them. It is a firewall.Rules.
type ruleset struct {
	conn   *nftables.Conn
	chains map[string][]*nftables.Rule
	sets   map[string]namedSet
}

type namedSet struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

func (r *ruleset) Chain(ch *nftables.Chain) ([]*nftables.Rule, error) {
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

func (r *ruleset) Set(t *nftables.Table, name string) (*nftables.Set, []nftables.SetElement, error) {
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
