package dataplane

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Pieces in which elements are sent. A message's attribute has at most 64 KiB,
// and a transaction is one write, which has to fit the socket's send buffer (208
// KiB by default, net.core.wmem_default); an element takes 36 bytes at most.
const (
	elementsPerMessage     = 500
	messagesPerTransaction = 4
)

// create replaces the whole table, in one transaction if that is possible; else
// nothing comes in until the last one. It gives the number of transactions.
func (t borderTable) create(c *nftables.Conn, want *border) (transactions int, err error) {
	pieces := pieces(newBorder(want.port), want)
	whole := len(pieces) <= messagesPerTransaction
	c.AddTable(t.table) // so that deleting it cannot fail
	c.DelTable(t.table)
	c.AddTable(t.table)
	for _, s := range t.sets {
		if err := c.AddSet(s, nil); err != nil {
			return 0, err
		}
	}
	if whole {
		for _, p := range pieces {
			if err := t.send(c, p); err != nil {
				return 0, err
			}
		}
	}
	input := rulesOf(t.chains, chainInput)
	for _, ch := range t.chains {
		c.AddChain(ch.Chain)
		rules := ch.rules
		if ch.Name == chainInput && !whole {
			rules = closedRules(want)
		}
		addRules(c, t.table, ch.Chain, rules)
	}
	if err := c.Flush(); err != nil || whole {
		return 1, err
	}
	sent, err := t.sendAll(c, pieces)
	if err != nil {
		return sent, err
	}
	c.FlushChain(input.Chain)
	addRules(c, t.table, input.Chain, input.rules)
	return sent + 2, c.Flush()
}

func rulesOf(chains []borderChain, name string) borderChain {
	return chains[slices.IndexFunc(chains, func(c borderChain) bool { return c.Name == name })]
}

// change sends the difference between two states.
func (t borderTable) change(c *nftables.Conn, have, want *border) (transactions int, err error) {
	return t.sendAll(c, pieces(have, want))
}

// sendAll sends the pieces, so many in a transaction as fit one.
func (t borderTable) sendAll(c *nftables.Conn, pieces []piece) (transactions int, err error) {
	for some := range slices.Chunk(pieces, messagesPerTransaction) {
		for _, p := range some {
			if err := t.send(c, p); err != nil {
				return transactions, err
			}
		}
		if err := c.Flush(); err != nil {
			return transactions, err
		}
		transactions++
	}
	return transactions, nil
}

// piece is a change of one set that fits one message.
type piece struct {
	set      string
	del      bool
	elements []nftables.SetElement
}

// pieces gives the changes that lead from one state to another. What is let in
// no more comes first.
func pieces(have, want *border) []piece {
	var out []piece
	add := func(del bool, elements map[string][]nftables.SetElement) {
		for _, set := range []string{setMembers4, setMembers6, setVNIs, setHosts4, setHosts6} {
			for some := range slices.Chunk(elements[set], elementsPerMessage) {
				out = append(out, piece{set, del, some})
			}
		}
	}
	add(true, have.without(want).elements())
	add(false, want.without(have).elements())
	return out
}

func (t borderTable) send(c *nftables.Conn, p piece) error {
	s := t.set(p.set)
	if p.del {
		return c.SetDeleteElements(s, p.elements)
	}
	return c.SetAddElements(s, p.elements)
}

func (t borderTable) set(name string) *nftables.Set {
	return t.sets[slices.IndexFunc(t.sets, func(s *nftables.Set) bool { return s.Name == name })]
}

// read gives what the table holds, or nil if it is not there or not as weft
// makes it for want. A table of this name that somebody else made is an error.
func (t borderTable) read(c *nftables.Conn, ns netns.NsHandle, want *border) (*border, error) {
	chains, there, err := t.look(c)
	if err != nil {
		return nil, err
	}
	if !there || len(chains) != len(t.chains) {
		return nil, nil
	}
	for _, ch := range t.chains {
		i := slices.IndexFunc(chains, func(have *nftables.Chain) bool { return have.Name == ch.Name })
		if i < 0 || !sameHook(chains[i], ch.Chain) {
			return nil, nil
		}
		have, err := readRules(c, t.table, ch.Chain)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(have, texts(ch.rules)) {
			return nil, nil
		}
	}
	keys := map[string][][]byte{}
	for _, s := range t.sets {
		keys[s.Name], err = keysOf(ns, s)
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list set %s: %w", s.Name, err)
		}
	}
	return want.taken(keys), nil
}

// sameHook says whether both chains are called at the same place.
func sameHook(a, b *nftables.Chain) bool {
	if a.Hooknum == nil || b.Hooknum == nil {
		return a.Hooknum == nil && b.Hooknum == nil
	}
	return *a.Hooknum == *b.Hooknum && a.Priority != nil && *a.Priority == *b.Priority && a.Type == b.Type
}

var errOthersTable = errors.New("a table of that name is there and is not weft's: delete it or give it another name")

// look gives the chains of the table of weft's name, if it is there. It fails if
// the table is somebody else's: weft's has a set of weft's, or nothing at all.
func (t borderTable) look(c *nftables.Conn) (chains []*nftables.Chain, there bool, err error) {
	tables, err := dump(func() ([]*nftables.Table, error) { return c.ListTablesOfFamily(t.table.Family) })
	if err != nil {
		return nil, false, fmt.Errorf("list tables: %w", err)
	}
	if !slices.ContainsFunc(tables, func(have *nftables.Table) bool { return have.Name == t.table.Name }) {
		return nil, false, nil
	}
	chains, err = dump(func() ([]*nftables.Chain, error) { return c.ListChainsOfTableFamily(t.table.Family) })
	if err != nil {
		return nil, false, fmt.Errorf("list chains: %w", err)
	}
	chains = slices.DeleteFunc(chains, func(ch *nftables.Chain) bool { return ch.Table.Name != t.table.Name })
	sets, err := dump(func() ([]*nftables.Set, error) { return c.GetSets(t.table) })
	if err != nil {
		return nil, false, fmt.Errorf("list sets: %w", err)
	}
	ours := t.set(setMembers4)
	if len(chains)+len(sets) > 0 && !slices.ContainsFunc(sets, func(s *nftables.Set) bool {
		return s.Name == ours.Name && s.KeyType.Bytes == ours.KeyType.Bytes
	}) {
		return nil, false, errOthersTable
	}
	return chains, true, nil
}

// remove deletes the table if it is there and weft's. A kernel without nftables
// has none.
func (t borderTable) remove(c *nftables.Conn) error {
	_, there, err := t.look(c)
	switch {
	case errors.Is(err, errOthersTable), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return nil
	case err != nil || !there:
		return err
	}
	c.DelTable(t.table)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("delete nftables table inet %s: %w", t.table.Name, err)
	}
	return nil
}
