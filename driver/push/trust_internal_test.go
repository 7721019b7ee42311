package push

import (
	"net/netip"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
)

// town is a registry that knows one other host.
type town struct {
	Registry
	peer overlay.Host
}

func (r town) PushPeer(host string) (overlay.Host, bool) { return r.peer, host == r.peer.Name }

func TestWhoIsAdmitted(t *testing.T) {
	tests := []struct {
		name, host, at, from string
		ok                   bool
	}{
		{"its address", "h1", "192.0.2.1:7947", "192.0.2.1", true},
		{"IPv4 as a socket of both families shows it", "h1", "192.0.2.1:7947", "::ffff:192.0.2.1", true},
		{"IPv6", "h1", "[2001:db8::1]:7947", "2001:db8::1", true},
		{"link-local, with the interface that it came by", "h1", "[fe80::1]:7947", "fe80::1%eth0", true},
		{"another address", "h1", "192.0.2.1:7947", "192.0.2.2", false},
		{"the other family", "h1", "192.0.2.1:7947", "::c000:201", false},
		{"a host that is not known", "h9", "192.0.2.1:7947", "192.0.2.1", false},
	}
	for _, tt := range tests {
		p := &Push{reg: town{peer: overlay.Host{Name: "h1", Push: netip.MustParseAddrPort(tt.at)}}}
		_, err := p.admit(mustBox(t, "c", key(1)), message{Kind: beat, Host: tt.host}, []byte("{}"), forDatagram, netip.MustParseAddr(tt.from))
		if (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}
