package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane/firewall"
)

// Only rules that see weft's own packets are looked at. These packets begin and end
// at this host, so FORWARD and DOCKER-USER see none of them: a container's frames are
// in a tunnel before the host's rules see them.
var firewallCheck = Check{
	Name: "firewall", Code: 14, About: "no firewall rule drops the tunnels' packets, or what hosts tell each other directly",
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		s, err := h.state()
		if err != nil {
			return nil, err
		}
		self := s.Snapshot.Self
		on, found, err := h.Kernel.InterfaceOf(self.VTEP)
		switch {
		case err != nil:
			return nil, err
		case !found:
			return nil, noLink
		}
		var flows []flow
		var skipped error
		for _, peer := range s.Hosts {
			if !peer.Live || !peer.VTEP.IsValid() || peer.VTEP.Is4() != self.VTEP.Is4() {
				continue
			}
			out, err := h.Kernel.InterfaceTo(peer.VTEP)
			if err != nil {
				skipped = err
				continue
			}
			in := on.Name
			if on.Virtual {
				in = out
			}
			flows = append(flows, flowsWith(self.VTEP, peer.VTEP, in, out, h.Config.Port, self.Push, peer.Push)...)
		}
		if len(flows) == 0 && skipped == nil {
			return nil, NotMade("there is no other host whose packets could be dropped")
		}
		packets := make([]firewall.Packet, 0, len(flows))
		for _, f := range flows {
			packets = append(packets, f.packet)
		}
		drops, err := h.Kernel.Drops(ctx, packets)
		if err != nil {
			return nil, err
		}
		return firewallFindings(h.self(), flows, drops), skipped
	},
}

// flow is one kind of packet that must pass, in words and as a packet.
type flow struct {
	what   string
	packet firewall.Packet
}

// flowsWith are the flows with one other host. Its packets come by the link in, and
// packets to it leave by out.
func flowsWith(self, peer netip.Addr, in, out string, port uint16, push, peerPush netip.AddrPort) []flow {
	const tunnels, beats, questions = "the tunnels' packets", "other hosts' direct messages", "other hosts' questions"
	flows := []flow{
		{tunnels, firewall.Packet{In: true, Link: in, Src: peer, Dst: self, DstPort: port, Untracked: true}},
		{tunnels, firewall.Packet{Link: out, Src: self, Dst: peer, DstPort: port, Untracked: true}},
	}
	if !push.IsValid() || !peerPush.IsValid() {
		return flows
	}
	return append(flows,
		flow{beats, firewall.Packet{In: true, Link: in, Src: peer, Dst: self, SrcPort: peerPush.Port(), DstPort: push.Port()}},
		flow{beats, firewall.Packet{Link: out, Src: self, Dst: peer, SrcPort: push.Port(), DstPort: peerPush.Port()}},
		flow{questions, firewall.Packet{In: true, TCP: true, Link: in, Src: peer, Dst: self, DstPort: push.Port()}},
		flow{questions, firewall.Packet{TCP: true, Link: out, Src: self, Dst: peer, DstPort: peerPush.Port()}},
	)
}

// firewallFindings has a finding for each kind of packet, direction and rule.
func firewallFindings(host string, flows []flow, drops []*firewall.Drop) []Finding {
	var out []Finding
	seen := map[string]bool{}
	for i, d := range drops {
		if d == nil {
			continue
		}
		p := flows[i].packet
		port, from := fmt.Sprintf("UDP port %d", p.DstPort), "coming in"
		if p.TCP {
			port = fmt.Sprintf("TCP port %d", p.DstPort)
		}
		if !p.In {
			from = "going out"
		}
		chain := fmt.Sprintf("chain %s %s %s", d.Family, d.Table, d.Chain)
		if key := fmt.Sprint(port, from, chain, d.Rule); !seen[key] {
			seen[key] = true
			out = append(out, Finding{
				Object:   chain,
				Problem:  fmt.Sprintf("the firewall of %s drops %s (%s, %s) in the nftables %s by %s", host, flows[i].what, port, from, chain, d.Rule),
				Cure:     opened(d, p),
				Severity: control.Broken,
			})
		}
	}
	return out
}

// opened says how to let the packet pass, in the language of the rules' own tool.
func opened(d *firewall.Drop, p firewall.Packet) string {
	proto, direction := "udp", "in"
	if p.TCP {
		proto = "tcp"
	}
	if !p.In {
		direction = "out"
	}
	switch {
	case d.Table == "firewalld":
		return fmt.Sprintf("let it pass for good: firewall-cmd --permanent --add-port=%d/%s && firewall-cmd --reload", p.DstPort, proto)
	case strings.Contains(d.Rule+d.Chain, "ufw"):
		return fmt.Sprintf("let it pass for good: ufw allow %s %d/%s", direction, p.DstPort, proto)
	case (d.Family == "ip" || d.Family == "ip6") && d.Table == "filter" && d.Chain == strings.ToUpper(d.Chain):
		command := "iptables"
		if d.Family == "ip6" {
			command = "ip6tables"
		}
		return fmt.Sprintf("let it pass, and do so where the rules are kept: %s -I %s -p %s --dport %d -j ACCEPT", command, d.Chain, proto, p.DstPort)
	}
	return fmt.Sprintf("let it pass, and do so where the rules are kept: nft insert rule %s %s %s %s dport %d accept", d.Family, d.Table, d.Chain, proto, p.DstPort)
}
