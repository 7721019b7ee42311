package lab

import (
	"context"
	"fmt"
	"strings"
)

// cutTable is the nftables table in a member's namespace which drops what
// comes from members it is cut from: whole frames, by source MAC, before
// anything else of the member sees them.
const cutTable = "netdev weft_lab"

// Cut drops everything between the members a and b, both ways, until Heal.
func (l *Lab) Cut(ctx context.Context, a, b string) error {
	ma, err := l.member(a)
	if err != nil {
		return err
	}
	mb, err := l.member(b)
	if err != nil {
		return err
	}
	if ma == mb {
		return refuse("cannot cut %s from itself", a)
	}
	if err := ma.deafen(ctx, mb); err != nil {
		return err
	}
	return mb.deafen(ctx, ma)
}

// deafen makes m drop every frame from the member called from.
func (m *member) deafen(ctx context.Context, from *member) error {
	return m.nft(ctx, fmt.Sprintf(`add table %[1]s
add set %[1]s cut { type ether_addr; }
add chain %[1]s in { type filter hook ingress device eth0 priority -500; }
flush chain %[1]s in
add rule %[1]s in ether saddr @cut drop
add element %[1]s cut { %[2]s }
`, cutTable, from.mac()))
}

// Heal undoes every cut. As on a real wire, whoever asked for a neighbour's
// address meanwhile asks again within a second, and not before.
func (l *Lab) Heal(ctx context.Context) error {
	for _, m := range l.members() {
		if err := m.nft(ctx, fmt.Sprintf("add table %[1]s\ndelete table %[1]s\n", cutTable)); err != nil {
			return err
		}
	}
	return nil
}

func (m *member) nft(ctx context.Context, script string) error {
	_, err := m.run(ctx, strings.NewReader(script), "nft", "-f", "-")
	return err
}
