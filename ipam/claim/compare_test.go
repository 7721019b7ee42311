package claim

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/ipam/space"
)

var (
	self  = Self{Host: "h1", Incarnation: "2"}
	mine  = Entry{Holder: Holder{Host: "h1", Incarnation: "2"}, Revision: 5}
	older = Entry{Holder: Holder{Host: "h1", Incarnation: "1"}, Revision: 3}
	other = Entry{Holder: Holder{Host: "h2", Birth: Birth{Epoch: 2}}, Revision: 9}
)

func addr(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, 0, last}) }

// What follows from a key, for each state of a claim and each limit.
func TestJudge(t *testing.T) {
	used := Claim{State: InUse, Born: Birth{Epoch: 3}}
	first := Claim{State: InUse, Born: Birth{Epoch: 1}} // claimed before other's
	lost := Claim{State: InUse, Born: Birth{Epoch: 1}, Lost: "h2"}
	stock, leaving := Claim{State: InStock, Born: Birth{Epoch: 1}}, Claim{State: Leaving}
	frozen, yields := Limits{Frozen: true}, Limits{Yields: true}
	both := Limits{Frozen: true, Yields: true}
	for _, test := range []struct {
		what   string
		c      Claim
		e      Entry
		exists bool
		d      Limits
		want   Verdict
	}{
		{"used, and this host's", used, mine, true, Limits{}, Agreed},
		{"used, and an earlier incarnation's", used, older, true, Limits{}, Agreed},
		{"lost, and this host's again", lost, mine, true, Limits{}, Regained},
		{"lost, and this host's again, frozen", lost, mine, true, frozen, Regained},
		{"stock, and this host's", stock, mine, true, frozen, Agreed},
		{"used, and another's who was first", used, other, true, Limits{}, Gone},
		{"used first, and another's", first, other, true, Limits{}, Older},
		{"used first, and another's, frozen", first, other, true, frozen, Undecided},
		{"used, and another's, frozen", used, other, true, frozen, Undecided},
		{"used first, and another's, by a host that was declared dead", first, other, true, yields, Gone},
		{"used first, and another's, by such a host, frozen", first, other, true, both, Gone},
		{"lost, and another's", lost, other, true, Limits{}, Gone},
		{"stock, claimed first, and another's", stock, other, true, Limits{}, Gone},
		{"stock, and another's, frozen", stock, other, true, frozen, Gone},
		{"leaving, and another's", leaving, other, true, frozen, Gone},
		{"leaving, and nobody's", leaving, Entry{}, false, Limits{}, Gone},
		{"used, and nobody's", used, Entry{}, false, Limits{}, Absent},
		{"used, and nobody's, frozen", used, Entry{}, false, frozen, Absent},
		{"lost, and nobody's", lost, Entry{}, false, Limits{}, Absent},
		{"stock, and nobody's", stock, Entry{}, false, yields, Absent},
		{"not known here, and another's", Claim{}, other, true, frozen, Gone},
	} {
		if got := Judge(self, test.c, test.e, test.exists, test.d); got != test.want {
			t.Errorf("%s: %d, want %d", test.what, got, test.want)
		}
	}
}

// Everything that a comparison can find, at once; what nobody can read stays.
func TestCompare(t *testing.T) {
	claims := Claims{
		addr(1): {State: InUse}, addr(2): {State: InUse, Lost: "h2"}, addr(3): {State: InStock}, addr(4): {State: InUse},
		addr(5): {State: InUse, Born: Birth{Epoch: 1}}, addr(6): {State: InStock}, addr(7): {State: Leaving}, addr(8): {State: InUse},
	}
	keys := Entries{
		addr(1): mine, addr(2): mine, addr(5): other, addr(6): other,
		addr(20): mine, addr(21): older, addr(22): other, addr(19): mine,
	}
	got := Compare(self, claims, keys, space.Set{addr(8): {}}, Limits{})
	want := Differences{
		Adopt: []netip.Addr{addr(19), addr(20)}, Stranded: []netip.Addr{addr(21)}, Regained: []netip.Addr{addr(2)},
		Absent: []netip.Addr{addr(4), addr(3)}, Older: []netip.Addr{addr(5)}, Gone: []netip.Addr{addr(6), addr(7)},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

// Which unknown keys of this host are deleted, and which a write has to confirm.
func TestUnknownKeys(t *testing.T) {
	claims := Claims{addr(1): {State: InUse}, addr(2): {State: InUse}, addr(3): {State: InStock}}
	keys := Entries{addr(1): mine, addr(2): older, addr(3): older, addr(4): mine, addr(5): mine, addr(6): older, addr(7): other}
	others := map[netip.Addr]string{addr(5): "h2", addr(6): "h2", addr(1): "h2"}
	for _, test := range []struct {
		what      string
		got, want []netip.Addr
	}{
		{"deleted", BroughtBack(self, claims, keys, others, false), []netip.Addr{addr(5)}},
		{"deleted while hosts record again", BroughtBack(self, claims, keys, others, true), []netip.Addr{addr(4), addr(5)}},
		{"confirmed", Unconfirmed(self, claims, keys), []netip.Addr{addr(2), addr(3), addr(4), addr(5)}},
	} {
		if diff := cmp.Diff(test.want, test.got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.what, diff)
		}
	}
}

// The oldest comes first, and of two of one age the lower.
func TestWhich(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	claims := Claims{
		addr(1): {State: InStock, At: now}, addr(2): {State: InStock, At: now.Add(-time.Second)},
		addr(3): {State: InUse, At: now.Add(-time.Hour)}, addr(4): {State: InStock, At: now.Add(-time.Second)},
	}
	if diff := cmp.Diff([]netip.Addr{addr(2), addr(4), addr(1)}, claims.In(InStock), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("in stock (-want +got):\n%s", diff)
	}
}
