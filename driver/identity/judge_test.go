package identity_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/driver/identity"
)

// The rows are those of the table in docs/operations.md.
func TestWhoMayTakeAHostsPlace(t *testing.T) {
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	m1, m2 := identity.Machine{ID: "1"}, identity.Machine{ID: "2"}
	first := identity.Owner{Machine: m1, Incarnation: "i", Run: "r", VTEP: here}
	place := func(change func(*identity.Found)) identity.Found {
		f := identity.Found{Owner: first, Known: true, Incarnation: "i", VTEP: here, Revision: 10}
		if change != nil {
			change(&f)
		}
		return f
	}
	self := func(change func(*identity.Self)) identity.Self {
		s := identity.Self{Owner: first, Revision: 12}
		if change != nil {
			change(&s)
		}
		return s
	}
	live := func(f *identity.Found) { f.Lease = "r" }
	for name, tt := range map[string]struct {
		self identity.Self
		have identity.Found
		want identity.Standing
	}{
		"a restart":                      {self(nil), place(nil), identity.Free},
		"a restart after a kill":         {self(nil), place(live), identity.Free},
		"a restart with another address": {self(func(s *identity.Self) { s.VTEP = there }), place(nil), identity.Free},
		"a name that nobody has":         {self(nil), identity.Found{}, identity.Free},
		"a power cut just before":        {self(func(s *identity.Self) { s.Run = "other" }), place(live), identity.Busy},
		"a power cut some time before":   {self(func(s *identity.Self) { s.Run = "other" }), place(nil), identity.Free},
		"a second machine of the name": {
			identity.Self{Owner: identity.Owner{Machine: m2, Incarnation: "j", Run: "q", VTEP: there}, New: true}, place(live), identity.Foreign,
		},
		"a second machine of the name, the first is off": {
			identity.Self{Owner: identity.Owner{Machine: m2, Incarnation: "j", Run: "q", VTEP: there}, New: true}, place(nil), identity.Foreign,
		},
		"a second machine of the name, the first has left": {
			identity.Self{Owner: identity.Owner{Machine: m2, Incarnation: "j", Run: "q", VTEP: there}, New: true},
			place(func(f *identity.Found) { f.Left = true }), identity.Free,
		},
		"the first machine, after it has left and another has come": {
			self(nil), place(func(f *identity.Found) {
				f.Left, f.Owner = true, identity.Owner{Machine: m2, Incarnation: "j", Run: "q", VTEP: there}
			}), identity.Foreign,
		},
		"a host that has left comes back": {self(nil), place(func(f *identity.Found) { f.Left = true }), identity.Free},
		"a second machine of the name, the first's weft writes no owner": {
			identity.Self{Owner: identity.Owner{Machine: m2, Incarnation: "j", Run: "q", VTEP: there}, New: true},
			place(func(f *identity.Found) { f.Owner, f.Lease = identity.Owner{}, "i" }), identity.Foreign,
		},
		"a machine that was installed anew, at the same address": {
			identity.Self{Owner: identity.Owner{Machine: m2, Incarnation: "j", Run: "q", VTEP: here}, New: true}, place(nil), identity.Free,
		},
		"a copy with the same machine-id": {
			self(func(s *identity.Self) { s.VTEP, s.Run = there, "other" }), place(live), identity.Busy,
		},
		"a copy with the same machine-id, on another virtual board": {
			self(func(s *identity.Self) { s.VTEP, s.Run, s.Machine.Board = there, "other", "b" }),
			place(func(f *identity.Found) { f.Owner.Machine.Board = "a" }), identity.Foreign,
		},
		"a copy that was told to take the place, while the first lives": {
			self(func(s *identity.Self) { s.VTEP, s.Run, s.Machine, s.Was = there, "other", m2, "1" }), place(live), identity.Busy,
		},
		"a copy that was told to take the place": {
			self(func(s *identity.Self) { s.VTEP, s.Run, s.Machine, s.Was = there, "other", m2, "1" }), place(nil), identity.Free,
		},
		"the first machine after that": {
			self(nil), place(func(f *identity.Found) { f.Owner.Machine, f.Owner.VTEP = m2, there }), identity.Foreign,
		},
		"a state that was lost": {
			identity.Self{Owner: identity.Owner{Machine: m1, Incarnation: "j", Run: "q", VTEP: here}, New: true}, place(live), identity.Free,
		},
		"a state that was lost, with another address": {
			identity.Self{Owner: identity.Owner{Machine: m1, Incarnation: "j", Run: "q", VTEP: there}, New: true}, place(live), identity.Busy,
		},
		"a disk that was set back": {self(func(s *identity.Self) { s.Revision = 9 }), place(nil), identity.Older},
		"a disk that was set back to before its state was lost": {
			self(nil), place(func(f *identity.Found) {
				f.Former, f.Incarnation, f.Owner.Incarnation = []string{"i"}, "j", "j"
			}), identity.Older,
		},
		"the same, while a process lives": {
			self(func(s *identity.Self) { s.Run = "other" }), place(func(f *identity.Found) {
				f.Former, f.Incarnation, f.Owner.Incarnation, f.Lease = []string{"i"}, "j", "j", "r"
			}), identity.Busy,
		},
		"the same, after the host has left": {
			self(nil), place(func(f *identity.Found) {
				f.Former, f.Incarnation, f.Owner.Incarnation, f.Left = []string{"i"}, "j", "j", true
			}), identity.Older,
		},
		"a store that was set back to before the state was lost": {
			self(func(s *identity.Self) { s.Incarnation, s.Former = "j", []string{"i"} }), place(nil), identity.Free,
		},
		"an upgrade": {
			self(func(s *identity.Self) { s.New, s.Run = true, "q" }),
			place(func(f *identity.Found) { f.Owner, f.Revision, f.Lease = identity.Owner{}, 0, "i" }), identity.Free,
		},
		"an upgrade with another address": {
			self(func(s *identity.Self) { s.New, s.Run, s.VTEP = true, "q", there }),
			place(func(f *identity.Found) { f.Owner, f.Revision = identity.Owner{}, 0 }), identity.Free,
		},
		"machines without an id": {
			identity.Self{Owner: identity.Owner{Incarnation: "j", Run: "q", VTEP: there}, New: true},
			place(func(f *identity.Found) { f.Owner.Machine = identity.Machine{} }), identity.Foreign,
		},
	} {
		if got := tt.self.Judge(tt.have); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
}

// A host knows which incarnations it had, whoever of state and store was lost or set
// back, and no more of them than the last ones.
func TestFormerIncarnations(t *testing.T) {
	self := func(now string, former ...string) identity.Self {
		return identity.Self{Owner: identity.Owner{Incarnation: now}, Former: former}
	}
	found := func(now string, former ...string) identity.Found {
		return identity.Found{Owner: identity.Owner{Incarnation: now}, Incarnation: now, Former: former}
	}
	for name, tt := range map[string]struct {
		self identity.Self
		have identity.Found
		want []string
	}{
		"a new host":                            {self("a"), found(""), nil},
		"a restart":                             {self("b", "a"), found("b", "a"), []string{"a"}},
		"a state that was lost":                 {self("c"), found("b", "a"), []string{"a", "b"}},
		"a store that was wiped":                {self("c", "a", "b"), found(""), []string{"a", "b"}},
		"a store that was set back":             {self("c", "a", "b"), found("a"), []string{"a", "b"}},
		"a place that was taken, and no record": {self("c"), identity.Found{Owner: identity.Owner{Incarnation: "b"}, Incarnation: "a"}, []string{"a", "b"}},
	} {
		if got := tt.self.Succeeds(tt.have); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	var have identity.Found
	for i := range 100 {
		now := fmt.Sprint(i)
		have = found(now, self(now).Succeeds(have)...)
	}
	if n := len(have.Former); n != 16 || have.Former[n-1] != "98" {
		t.Errorf("after 100 states, the host knows %q", have.Former)
	}
}
