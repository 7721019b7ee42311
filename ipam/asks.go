package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/ipam/space"
)

// # An address that another host keeps ahead of use
//
// A user who names an address that no container has must get it, whichever host has it in
// stock. So this host asks for it. The ask is a part of what this host says of the
// network, beside its stock; see overlay.Attachment. It goes the same ways, directly and
// through the store, and is withdrawn in the same way. A host that has the address in
// stock counts it out of its stock, gives it back as it does anything that is too much,
// and does not draw it as long as it is asked for. Nobody answers an ask: this host sees
// that the key is gone, and claims it like any other. Who claims it first has it.
//
// An address in use is never given up, whoever asks for it.

// asks are the addresses that this host asks others to give up, with the number of
// requests that wait for each. The zero value is ready. Safe for concurrent use.
type asks struct {
	mu sync.Mutex
	of map[netip.Addr]int
}

func (s *asks) add(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[netip.Addr]int{}
	}
	s.of[a]++
}

func (s *asks) remove(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[a]--; s.of[a] == 0 {
		delete(s.of, a)
	}
}

// Asks lists the addresses of the subnet that this host asks others to give up, sorted.
func (a *Allocator) Asks(subnet netip.Prefix) []netip.Addr {
	a.asks.mu.Lock()
	defer a.asks.mu.Unlock()
	out := slices.SortedFunc(maps.Keys(a.asks.of), netip.Addr.Compare)
	return slices.DeleteFunc(out, func(addr netip.Addr) bool { return !subnet.Contains(addr) })
}

// askFor has others give up the address if it is in their stock, until stop is called.
func (a *table) askFor(addr netip.Addr) (stop func()) {
	a.asks.add(addr)
	signal(a.changed)
	return func() {
		a.asks.remove(addr)
		signal(a.changed)
	}
}

// keptError says that another host has claimed an address, and nobody knows what for.
type keptError struct {
	addr netip.Addr
	host string
}

func (e *keptError) Error() string {
	return fmt.Sprintf("address %v is in use or kept in stock on host %s: choose another, or free it there", e.addr, e.host)
}

// spareable says whether the address that err is about may be in the stock of a host that
// can be asked for it.
func (a *table) spareable(p *pool, err error) bool {
	var kept *keptError
	if !errors.As(err, &kept) || !a.view(p.subnet).attached { // others are asked in a network only
		return false
	}
	host, said := a.cfg.Networks.Claimed(p.subnet)[kept.addr]
	return (!said || host == kept.host) && a.cfg.Networks.Lives(kept.host)
}

// requestClaimed claims an address that Docker names. If another host has it in stock,
// that host is asked for it. No gate is held meanwhile, so others do not wait.
func (a *Allocator) requestClaimed(ctx context.Context, p *pool, addr netip.Addr) error {
	try := func() error {
		return a.allowed(ctx, func(by permit) error { return a.claimNamed(ctx, p, addr, by) })
	}
	err := try()
	if !a.spareable(p, err) {
		return err
	}
	defer a.askFor(addr)()
	for end := time.Now().Add(spareTime); a.spareable(p, err) && time.Now().Before(end); err = try() {
		if pause(ctx, spareLook) != nil {
			break
		}
	}
	return err
}

// pickLocked draws up to n addresses that nobody has and nobody asks for.
func (p *pool) pickLocked(v view, n int, random func(uint64) uint64) []netip.Addr {
	var added []netip.Addr
	for addr := range v.asked {
		if !p.taken.Has(addr) {
			p.taken[addr] = struct{}{}
			added = append(added, addr)
		}
	}
	some := p.dynamic().Pick(n, p.taken, space.Share{Nth: v.before, Of: v.hosts}, random)
	for _, addr := range added {
		delete(p.taken, addr)
	}
	return some
}
