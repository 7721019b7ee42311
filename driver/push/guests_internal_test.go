package push

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// come makes a guest that enters, and says whether it was thrown out since.
func come(t *testing.T, hall *guests, from netip.Addr, member bool) (g *guest, out func() bool) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	g = &guest{Conn: near, from: from, member: member}
	hall.enter(g)
	return g, func() bool {
		return near.SetDeadline(time.Time{}) != nil
	}
}

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) }

func TestTheOldestSilentGuestGivesWay(t *testing.T) {
	var hall guests
	_, hostOut := come(t, &hall, addr(0), true)
	var outs []func() bool
	for i := range waitingStrangers + 3 {
		_, out := come(t, &hall, addr(1+i), false)
		outs = append(outs, out)
	}
	for i, out := range outs {
		if out() != (i < 3) {
			t.Errorf("stranger %d: thrown out is %t", i, out())
		}
	}
	if hostOut() {
		t.Error("strangers displaced a host")
	}
}

func TestOneAddressHasFewPlaces(t *testing.T) {
	for _, member := range []bool{false, true} {
		var hall guests
		_, other := come(t, &hall, addr(0), member)
		_, first := come(t, &hall, addr(1), member)
		for range waitingOfOne {
			come(t, &hall, addr(1), member)
		}
		if !first() || other() || len(hall.waiting) != waitingOfOne+1 {
			t.Errorf("member %t: the first of the address is out: %t, one of another: %t, %d wait", member, first(), other(), len(hall.waiting))
		}
	}
}

func TestWhoHasAskedDoesNotGiveWay(t *testing.T) {
	var hall guests
	asked, out := come(t, &hall, addr(1), false)
	if !hall.leave(asked) {
		t.Error("it was thrown out")
	}
	silent, _ := come(t, &hall, addr(2), false)
	for i := range waitingStrangers {
		come(t, &hall, addr(3+i), false)
	}
	if out() {
		t.Error("the one that is answered was thrown out")
	}
	if hall.leave(silent) {
		t.Error("one that was thrown out may ask")
	}
}

func TestMembersFollowTheStore(t *testing.T) {
	now := time.Now()
	peers := []overlay.Host{{Name: "h2", Push: netip.AddrPortFrom(addr(2), 7947)}}
	m := members{peers: func() []overlay.Host { return peers }}
	if !m.have(addr(2), now) || m.have(addr(3), now) {
		t.Error("h2's address alone is a member's")
	}
	peers = append(peers, overlay.Host{Name: "h3", Push: netip.AddrPortFrom(addr(3), 7947)})
	if !m.have(addr(3), now.Add(2*time.Second)) {
		t.Error("h3 is a stranger after 2 s")
	}
}
