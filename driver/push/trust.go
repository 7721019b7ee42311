package push

import (
	"fmt"
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
)

// admit refuses a message of a host that is no member, one that does not come from
// the address in its host's record, and one without its host's signature.
// What is lost because the store has not told of a new host or address yet is
// repeated by the next beat, or asked for again. It gives the host.
func (p *Push) admit(box *box, m message, plain []byte, purpose string, from netip.Addr) (overlay.Host, error) {
	host, ok := p.reg.PushPeer(m.Host)
	if !ok {
		return host, fmt.Errorf("a %s of host %.60q, which the store does not know as a host that sends direct messages", m.Kind, m.Host)
	}
	if bare(from) != bare(host.Push.Addr()) {
		return host, fmt.Errorf("a %s of host %.60q, whose address is %v, from another", m.Kind, m.Host, host.Push.Addr())
	}
	if err := box.verify(plain, purpose, host.Key); err != nil {
		return host, fmt.Errorf("a %s of host %.60q: %w", m.Kind, m.Host, err)
	}
	return host, nil
}

// bare is an address as records have it: a socket of both families shows IPv4 within
// IPv6, and one of link-local scope its zone.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
