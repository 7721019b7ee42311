package ipam

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-net/weft/ipam/space"
)

// shown is which addresses this host holds, for readers that must not wait until a change
// of State is on the disk. Who holds table.mu may wait for that.
type shown struct {
	mu   sync.Mutex
	held map[netip.Prefix]space.Set
}

// note takes over what has become of the pool's claims of some addresses.
func (s *shown) note(p *pool, addrs []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[netip.Prefix]space.Set{}
	}
	held := s.held[p.subnet]
	if held == nil {
		held = space.Set{}
		s.held[p.subnet] = held
	}
	for _, addr := range addrs {
		if c, known := p.claims[addr]; known && c.Held() {
			held[addr] = struct{}{}
		} else {
			delete(held, addr)
		}
	}
	if len(held) == 0 {
		delete(s.held, p.subnet)
	}
}

// Held lists the addresses of the subnet that this host has claimed, handed out or
// not, in any order. It waits for nothing.
func (a *Allocator) Held(subnet netip.Prefix) []netip.Addr {
	a.shown.mu.Lock()
	defer a.shown.mu.Unlock()
	return slices.Collect(maps.Keys(a.shown.held[subnet.Masked()]))
}
