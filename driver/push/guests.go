package push

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// Limits of those who have connected and whose question has not come. A
// stranger can hold a place for strangerWithin and no memory beyond maxQuestion.
const (
	waitingOfOne     = 4  // from one address: a host asks one question at a time
	waitingStrangers = 16 // from addresses that are no host's, all together
	waitingMembers   = 64 // from addresses of hosts, all together
)

// guest is a connection whose question has not come.
type guest struct {
	net.Conn
	from   netip.Addr
	member bool // from is the address of a host of the cluster
}

// guests are all of them. Every newcomer finds a place: if there are too many, the
// oldest gives way, which has been silent for the longest. So a host whose address the
// store does not know yet is heard even among many silent strangers.
type guests struct {
	mu      sync.Mutex
	waiting []*guest // guarded by mu; in the order of their coming
}

// enter makes room for a guest.
func (h *guests) enter(g *guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	limit := waitingStrangers
	if g.member {
		limit = waitingMembers
	}
	h.giveWayLocked(waitingOfOne, func(o *guest) bool { return o.from == g.from })
	h.giveWayLocked(limit, func(o *guest) bool { return o.member == g.member })
	h.waiting = append(h.waiting, g)
}

// giveWayLocked throws the oldest of a kind out if there are as many as limit.
func (h *guests) giveWayLocked(limit int, kind func(*guest) bool) {
	oldest, n := -1, 0
	for i, o := range h.waiting {
		if kind(o) {
			if n++; oldest < 0 {
				oldest = i
			}
		}
	}
	if n >= limit {
		_ = h.waiting[oldest].Close()
		h.waiting = slices.Delete(h.waiting, oldest, oldest+1)
	}
}

// leave takes a guest off; false if it is none any more.
func (h *guests) leave(g *guest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.waiting, g)
	if i < 0 {
		return false
	}
	h.waiting = slices.Delete(h.waiting, i, i+1)
	return true
}

// members are the addresses of the cluster's hosts. One that is new is a
// stranger for a second at most.
type members struct {
	peers func() []overlay.Host
	addrs map[netip.Addr]bool
	since time.Time // of addrs
}

func (m *members) have(addr netip.Addr, now time.Time) bool {
	if m.addrs == nil || now.Sub(m.since) > time.Second {
		m.addrs, m.since = map[netip.Addr]bool{}, now
		for _, host := range m.peers() {
			m.addrs[bare(host.Push.Addr())] = true
		}
	}
	return m.addrs[addr]
}

// sourceOf is the address that a connection comes from.
func sourceOf(conn net.Conn) netip.Addr {
	if at, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return bare(at.AddrPort().Addr())
	}
	return netip.Addr{}
}
