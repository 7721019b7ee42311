package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane/firewall"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/consul"
)

func TestRuleThatDropsIsNamedWithItsCure(t *testing.T) {
	self, peer := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	flows := flowsWith(self, peer, "eth0", "eth0", 4789, netip.AddrPortFrom(self, 7947), netip.AddrPortFrom(peer, 7947))
	if len(flows) != 6 {
		t.Fatalf("%d kinds of packets, want both ways of three", len(flows))
	}
	none := make([]*firewall.Drop, len(flows))
	says(t, "nothing", firewallFindings("host h1", flows, none))
	for name, c := range map[string]struct {
		drop firewall.Drop
		want string
	}{
		"nftables":  {firewall.Drop{Family: "inet", Table: "f", Chain: "in", Rule: "its policy"}, "nft insert rule inet f in udp dport 4789 accept"},
		"iptables":  {firewall.Drop{Family: "ip", Table: "filter", Chain: "INPUT", Rule: "its policy"}, "iptables -I INPUT -p udp --dport 4789 -j ACCEPT"},
		"ip6tables": {firewall.Drop{Family: "ip6", Table: "filter", Chain: "INPUT", Rule: "its policy"}, "ip6tables -I INPUT"},
		"ufw":       {firewall.Drop{Family: "ip", Table: "filter", Chain: "INPUT", Rule: "rule 3 of chain ufw-user-input"}, "ufw allow in 4789/udp"},
		"firewalld": {firewall.Drop{Family: "inet", Table: "firewalld", Chain: "filter_INPUT", Rule: "rule 4 of chain filter_INPUT"}, "firewall-cmd --permanent --add-port=4789/udp"},
	} {
		drops := append([]*firewall.Drop{&c.drop}, none[1:]...)
		says(t, name, firewallFindings("host h1", flows, drops), c.drop.Rule, "coming in", c.want)
	}
}

func TestHostsThatAreNotHeard(t *testing.T) {
	now := time.Now()
	push := netip.MustParseAddrPort("192.0.2.2:7947")
	state := func(h control.HostState) control.State {
		h.Name, h.Push = "h2", push
		return control.State{
			Started: now.Add(-time.Hour), Hosts: []control.HostState{h},
			Snapshot: overlay.Snapshot{Self: overlay.Host{Name: "h1", Push: netip.MustParseAddrPort("192.0.2.1:7947")}},
		}
	}
	long := now.Add(-time.Minute)
	says(t, "heard", unheard(state(control.HostState{Live: true, Since: long, Heard: now}), now))
	says(t, "down", unheard(state(control.HostState{Silent: true, Heard: long}), now))
	says(t, "silent", unheard(state(control.HostState{Live: true, Silent: true, Heard: long}), now), "h2", "not heard any more")
	says(t, "never heard", unheard(state(control.HostState{Live: true, Since: long}), now), "never been heard", "7947")
	says(t, "just come", unheard(state(control.HostState{Live: true, Since: now}), now))
}

func TestStoreThatDoesNotServe(t *testing.T) {
	refused := fmt.Errorf("%w: connection refused", kvstore.ErrUnavailable)
	up := consul.ServerHealth{Address: "192.0.2.9:8500", Leader: "192.0.2.9:8300", Within: time.Second}
	down := consul.ServerHealth{Address: "192.0.2.8:8500", Err: refused}
	says(t, "well", serverFindings("host h1", consul.Health{Servers: []consul.ServerHealth{up}}))
	says(t, "one of two", serverFindings("host h1", consul.Health{Servers: []consul.ServerHealth{up, down}}), "192.0.2.8:8500", "the others answer", "connection refused")
	says(t, "all", serverFindings("host h1", consul.Health{Servers: []consul.ServerHealth{down}}), "no server does")
	says(t, "no leader", serverFindings("host h1", consul.Health{Servers: []consul.ServerHealth{{Address: "a:1"}}}), "knows no leader")

	denied := fmt.Errorf("%w: lacks key:write", kvstore.ErrDenied)
	says(t, "written", writeFindings("host h1", "consul://a", consul.Health{}))
	says(t, "not written", writeFindings("host h1", "consul://a", consul.Health{WriteErr: refused}), "connection refused", "request_limits")
	says(t, "denied", writeFindings("host h1", "consul://a", consul.Health{WriteErr: denied}), "lacks key:write", "key_prefix")
	says(t, "read", readFindings("host h1", "consul://a", consul.Health{}))
	says(t, "read denied", readFindings("host h1", "consul://a", consul.Health{ReadErr: denied}), "does not let host h1 read")
	says(t, "filtered", readFindings("host h1", "consul://a", consul.Health{Filtered: true}), "leaves out")

	skewed := func(by time.Duration) consul.Health {
		s := up
		s.Ahead = by
		return consul.Health{Servers: []consul.ServerHealth{s}}
	}
	says(t, "in time", clockFindings("host h1", skewed(-5*time.Second)))
	says(t, "ahead", clockFindings("host h1", skewed(7*time.Second)), "7s ahead of")
	says(t, "behind", clockFindings("host h1", skewed(-time.Hour)), "1h0m0s behind")
}

// What is asked of the store is asked once, whichever checks need it.
func TestStoreIsExaminedOnce(t *testing.T) {
	asked := 0
	h := &Host{Store: func(context.Context) (consul.Health, error) {
		asked++
		return consul.Health{}, errors.New("no")
	}}
	d, err := Examine(t.Context(), h, []string{"store", "store-write", "store-acl", "clock"})
	if err != nil || asked != 1 || d.Code != 0 || d.Checks[0].NotChecked != "no" {
		t.Fatalf("asked %d times: %+v, %v", asked, d, err)
	}
}
