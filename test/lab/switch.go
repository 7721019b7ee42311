package lab

import (
	"context"
	"fmt"
	"strings"
)

// The switch is a member with a bridge to which every other member's eth0
// leads. It is the hosts' default route too, and answers "unreachable" to
// whatever is sent outside, so that nothing in a lab waits for the Internet.
const (
	switchName   = "switch"
	switchNumber = 1
	bridgeName   = "sw0"
)

// plug joins the members to the switch.
func (l *Lab) plug(ctx context.Context, members []*member) error {
	var b strings.Builder
	fmt.Fprintf(&b, "link set lo up\nlink add %s type bridge\nlink set %s up\n", bridgeName, bridgeName)
	fmt.Fprintf(&b, "addr add %s/24 dev %s\naddr add %s/64 dev %s nodad\n", l.sw.Addr(), bridgeName, l.sw.Addr6(), bridgeName)
	for _, m := range members {
		b.WriteString(m.wire())
	}
	if _, err := l.sw.run(ctx, strings.NewReader(b.String()), "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("join the underlay: %w", err)
	}
	forwarding := "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
	if _, err := l.sw.run(ctx, nil, "sh", "-c", forwarding); err != nil {
		return fmt.Errorf("make the switch the default route: %w", err)
	}
	return nil
}

// OnSwitch runs a command in the switch, where the links to the members have their names.
func (l *Lab) OnSwitch(ctx context.Context, argv ...string) (string, error) {
	return l.sw.run(ctx, nil, argv...)
}

// plugIn joins one member to the switch that the others are joined to.
func (l *Lab) plugIn(ctx context.Context, m *member) error {
	if _, err := l.sw.run(ctx, strings.NewReader(m.wire()), "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("join %s to the underlay: %w", m.name, err)
	}
	return nil
}

// wire is what ip makes the link between the switch and the member from.
func (m *member) wire() string {
	return fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %d\nlink set %s master %s up\n",
		m.name, m.mac(), m.holder().pid, m.name, bridgeName)
}

// address gives the member its place on the underlay.
func (m *member) address(ctx context.Context) error {
	var b strings.Builder
	b.WriteString("link set lo up\nlink set eth0 up\n")
	fmt.Fprintf(&b, "addr add %s/%d dev eth0\naddr add %s/64 dev eth0 nodad\n", m.Addr(), Underlay.Bits(), m.Addr6())
	fmt.Fprintf(&b, "route add default via %s\nroute add ::/0 via %s\n", m.lab.sw.Addr(), m.lab.sw.Addr6())
	if _, err := m.run(ctx, strings.NewReader(b.String()), "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("give %s its address: %w", m.name, err)
	}
	return nil
}
