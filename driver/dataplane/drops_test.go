package dataplane_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/dataplane/firewall"
	"github.com/weft-net/weft/test/netns"
)

// What a firewall drops for sure is told with the place; what it lets pass, or
// may, is not. The datagram that comes in is sent as well, so that the answer is
// checked against the kernel's own.
func TestDropsTellsWhatTheFirewallDrops(t *testing.T) {
	const in, out, tcp = 0, 1, 2
	for name, c := range map[string]struct {
		nft   string   // a ruleset
		also  []string // commands
		want  [3]string
		maybe bool // the kernel drops it, but that cannot be known
	}{
		"nothing": {},
		"policy": {
			nft:  `table inet f { chain input { type filter hook input priority 0; policy drop; tcp dport 22 accept; ct state established,related accept; }; }`,
			want: [3]string{in: "inet f input: its policy", tcp: "inet f input: its policy"},
		},
		"policy and the port": {
			nft: `table inet f { chain input { type filter hook input priority 0; policy drop; udp dport { 53, 4000-5000 } accept; meta l4proto tcp tcp dport 7947 accept; }; }`,
		},
		"policy and the source": {
			nft: `table ip f { chain input { type filter hook input priority 0; policy drop; ip saddr 192.0.2.0/24 accept; }; }`,
		},
		"policy and another source": {
			nft:  `table ip f { chain input { type filter hook input priority 0; policy drop; ip saddr { 198.51.100.0/24, 203.0.113.5 } accept; }; }`,
			want: [3]string{in: "ip f input: its policy", tcp: "ip f input: its policy"},
		},
		"the other family": {
			nft: `table ip6 f { chain input { type filter hook input priority 0; policy drop; }; }`,
		},
		"a rule behind jumps": {
			nft: `table inet f { chain a { udp dport 4789 reject; }
				chain z { iifname vmap { "eth0" : jump a, "lo" : accept }; }
				chain input { type filter hook input priority 0; policy accept; ct state vmap { established : accept, new : jump z }; }; }`,
			want: [3]string{in: "inet f input: rule 1 of chain a"},
		},
		"what goes out": {
			nft:  `table inet f { chain output { type filter hook output priority 0; oifname "eth*" udp dport 4789 drop; }; }`,
			want: [3]string{out: "inet f output: rule 1 of chain output"},
		},
		"early": {
			nft:  `table inet f { chain p { type filter hook prerouting priority -300; meta l4proto udp @th,16,16 4789 drop; }; }`,
			want: [3]string{in: "inet f p: rule 1 of chain p"},
		},
		"of other links": {
			nft: `table inet f { chain input { type filter hook input priority 0; iifname "wg0" drop; iifname != "eth0" udp dport 4789 drop; }; }`,
		},
		"only sometimes": {
			nft:   `table inet f { chain input { type filter hook input priority 0; meta pkttype host udp dport 4789 drop; }; }`,
			maybe: true,
		},
		"the guide's, with the port": {nft: fmt.Sprintf(guides, "4789, 7947, 8301")},
		"the guide's, without the port": {
			nft:  fmt.Sprintf(guides, "7947, 8301"),
			want: [3]string{in: "inet firewall input: its policy"},
		},
		"firewalld's, with the ports": {nft: fmt.Sprintf(firewalld, "udp dport 4789 accept; tcp dport 7947 accept;")},
		"firewalld's, without the ports": {
			nft:  fmt.Sprintf(firewalld, ""),
			want: [3]string{in: rejected, tcp: rejected},
		},
		"of a link by its number": {
			nft:  `table inet f { chain input { type filter hook input priority 0; iif lo drop; oif "eth0" drop; iif "eth0" udp dport 4789 drop; }; }`,
			want: [3]string{in: "inet f input: rule 3 of chain input"},
		},
		"behind a goto that may be": {
			nft: `table inet f { chain a { tcp dport 7947 accept; }
				chain input { type filter hook input priority 0; meta pkttype host goto a; udp dport 4789 drop; }; }`,
		},
		"what the kernel looks up": {
			nft: `table inet f { chain input { type filter hook input priority 0; policy drop; ip saddr 192.0.2.2 fib daddr type local accept; }; }`,
		},
		"not tracked": {
			nft: `table inet f { chain input { type filter hook input priority 0; policy drop; ct state established,related,untracked accept; }
				chain p { type filter hook prerouting priority raw; udp dport 4789 notrack; }; }`,
			want: [3]string{tcp: "inet f input: its policy"},
		},
		"iptables, not tracked": {
			also: []string{
				"iptables -t raw -A PREROUTING -p udp --dport 4789 -j CT --notrack", "iptables -P INPUT DROP",
				"iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,UNTRACKED -j ACCEPT",
			},
			want: [3]string{tcp: "ip filter INPUT: its policy"},
		},
		"iptables": {
			also: []string{
				"iptables -P INPUT DROP", "iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
				"iptables -A INPUT -i lo -j ACCEPT", "iptables -A INPUT -p tcp -m tcp --dport 7947 -m comment --comment weft -j ACCEPT",
			},
			want: [3]string{in: "ip filter INPUT: its policy"},
		},
		"iptables and the port": {
			also: []string{"iptables -P INPUT DROP", "iptables -A INPUT -p tcp --syn -j REJECT", "iptables -A INPUT -p udp --dport 4789 -j ACCEPT"},
			want: [3]string{tcp: "ip filter INPUT: rule 1 of chain INPUT"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := netns.New(t), netns.New(t)
			netns.Link(a, "eth0", b, "eth0")
			must(t, a, "ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
			must(t, b, "ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
			must(t, a, "ip", "link", "set", "eth0", "up")
			must(t, b, "ip", "link", "set", "eth0", "up")
			if c.nft != "" {
				file := filepath.Join(t.TempDir(), "ruleset")
				if err := os.WriteFile(file, []byte(c.nft), 0o600); err != nil {
					t.Fatal(err)
				}
				must(t, a, "nft", "-f", file)
			}
			for _, command := range c.also {
				must(t, a, "sh", "-c", command)
			}
			self, peer := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
			i, err := dataplane.NewInspector(dataplane.Options{HostNetns: a.Path()})
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			drops, err := i.Drops(t.Context(), []firewall.Packet{
				in:  {In: true, Link: "eth0", Src: peer, Dst: self, DstPort: 4789},
				out: {Link: "eth0", Src: self, Dst: peer, DstPort: 4789},
				tcp: {In: true, TCP: true, Link: "eth0", Src: peer, Dst: self, DstPort: 7947},
			})
			if err != nil {
				t.Fatal(err)
			}
			for n, want := range c.want {
				have := ""
				if d := drops[n]; d != nil {
					have = fmt.Sprintf("%s %s %s: %s", d.Family, d.Table, d.Chain, d.Rule)
				}
				if have != want {
					t.Errorf("packet %d: %q, want %q", n, have, want)
				}
			}
			if heard := hears(t, a, b, "192.0.2.1:4789"); heard != (c.want[in] == "" && !c.maybe) {
				t.Errorf("the kernel lets the datagram through: %v", heard)
			}
		})
	}
}

// guides is the table of docs/guide.md, with UDP ports to be filled in.
const guides = `table inet firewall {
	set cluster { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2, 192.0.2.3 }; }
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iif lo accept
		meta l4proto { icmp, ipv6-icmp } accept
		tcp dport 22 accept
		ip saddr @cluster udp dport { %s } accept
		ip saddr @cluster tcp dport { 7947, 8300, 8301, 8501 } accept
	}
}`

// firewalld is what firewalld makes of a zone for a source and one for the rest,
// with rules of the first to be filled in, and rejected where it refuses.
const (
	firewalld = `table inet firewalld {
	chain filter_IN_cluster_allow { tcp dport 22 accept; ip6 daddr fe80::/64 udp dport 546 accept; %s }
	chain filter_IN_cluster { jump filter_IN_cluster_allow; meta l4proto { icmp, ipv6-icmp } accept; reject with icmpx admin-prohibited; }
	chain filter_IN_public { meta l4proto { icmp, ipv6-icmp } accept; reject with icmpx admin-prohibited; }
	chain filter_INPUT_ZONES { ip saddr 192.0.2.0/24 goto filter_IN_cluster; iifname "eth0" goto filter_IN_public; goto filter_IN_public; }
	chain filter_PREROUTING {
		type filter hook prerouting priority filter + 10; policy accept;
		icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
		meta nfproto ipv6 fib saddr . mark . iif oif missing drop
	}
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}
}`
	rejected = "inet firewalld filter_INPUT: rule 3 of chain filter_IN_cluster"
)

// hears says whether a datagram from b reaches a at the address.
func hears(t *testing.T, a, b *netns.NS, addr string) bool {
	t.Helper()
	var to net.PacketConn
	var from net.Conn
	var err error
	a.Do(func() error { to, err = net.ListenPacket("udp4", addr); return err })
	defer to.Close()
	b.Do(func() error { from, err = net.Dial("udp4", addr); return err })
	defer from.Close()
	got := make(chan bool, 1)
	go func() {
		_ = to.SetReadDeadline(time.Now().Add(time.Second)) // the links have only just come up
		_, _, err := to.ReadFrom(make([]byte, 16))
		got <- err == nil
	}()
	for {
		_, _ = from.Write([]byte("hello")) // refused if the firewall says so
		select {
		case heard := <-got:
			return heard
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestInspectorFindsThisKernelFit(t *testing.T) {
	a := netns.New(t)
	i, err := dataplane.NewInspector(dataplane.Options{HostNetns: a.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	lacks, err := i.Lacks(t.Context())
	if err != nil || len(lacks) > 0 {
		t.Errorf("this kernel lacks %+v, %v", lacks, err)
	}
	if err := i.TryPort(t.Context(), netip.Addr{}, 4789); err != nil {
		t.Errorf("a port that is free: %v", err)
	}
}

// An address on lo belongs to no link that packets come by.
func TestInterfaceOfAnAddress(t *testing.T) {
	a, b := netns.New(t), netns.New(t)
	netns.Link(a, "eth0", b, "eth0")
	must(t, a, "ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
	must(t, a, "ip", "link", "set", "eth0", "mtu", "1400", "up")
	must(t, a, "ip", "link", "set", "lo", "up")
	must(t, a, "ip", "addr", "add", "203.0.113.1/32", "dev", "lo")
	i, err := dataplane.NewInspector(dataplane.Options{HostNetns: a.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	for addr, want := range map[string]dataplane.Interface{
		"192.0.2.1":    {Name: "eth0", MTU: 1400, Up: true},
		"203.0.113.1":  {Name: "lo", MTU: 65536, Up: true, Virtual: true},
		"198.51.100.1": {},
	} {
		have, found, err := i.InterfaceOf(netip.MustParseAddr(addr))
		if have != want || found != (want.Name != "") || err != nil {
			t.Errorf("%s is on %+v, found %v, error %v, want %+v", addr, have, found, err, want)
		}
	}
}
