package epoch

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

var (
	began = time.Unix(1000, 0)
	first = record.Epoch{N: 1, ID: "a", Hosts: []string{"h1", "h2"}}
	next  = record.Epoch{N: 2, ID: "b", Hosts: []string{"h1", "h2"}}
)

// settled is a host that claims new things in the first epoch.
func settled() *State {
	s := New(began)
	s.Enter(first, nil, began)
	s.SeeEpoch(first, 7, nil)
	c, _ := s.BeginComparison(alone(), began)
	s.EndComparison(c, true)
	s.Settle(alone(), began.Add(SettleTime))
	s.compareClaims = false
	return &s
}

func view(hosts ...record.HostDoc) View {
	return View{Self: overlay.Host{Name: "h1", VTEP: vtep(1)}, Hosts: slices.Values(hosts), HostsRead: true}
}

func alone() View { return view() }

// h2 is the other host, which has recorded again what it has in the epoch.
func h2(in string, claims bool) record.HostDoc {
	return record.HostDoc{Epoch: in, Settled: claims, Host: overlay.Host{Name: "h2", VTEP: vtep(2)}}
}

func vtep(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }

func pairs(revisions map[string]uint64) []kvstore.Pair {
	var out []kvstore.Pair
	for _, key := range slices.Sorted(maps.Keys(revisions)) {
		out = append(out, kvstore.Pair{Key: key, Revision: revisions[key]})
	}
	return out
}

// What a watch shows, and whether it speaks for a loss.
func TestSignsOfALoss(t *testing.T) {
	before := map[string]uint64{"host/h2/doc": 5, "net/a": 9}
	for name, c := range map[string]struct {
		prefix string
		now    map[string]uint64
		unread map[string]bool
		loss   bool
	}{
		"nothing has changed":         {"host/", map[string]uint64{"host/h2/doc": 5}, nil, false},
		"a record has changed":        {"host/", map[string]uint64{"host/h2/doc": 6}, nil, false},
		"a record is missing":         {"host/", nil, nil, true},
		"a record is as it was":       {"net/", map[string]uint64{"net/a": 8}, nil, true},
		"a lease has ended":           {"host/", map[string]uint64{"host/h2/doc": 5, "host/h2/live": 1}, nil, false},
		"a record cannot be read now": {"net/", map[string]uint64{"net/a": 10}, map[string]bool{"net/a": true}, false},
	} {
		s := settled()
		s.SeeRecords("host/", pairs(map[string]uint64{"host/h2/doc": 5}), nil)
		s.SeeRecords("net/", pairs(map[string]uint64{"net/a": 9}), nil)
		if diff := cmp.Diff(before, s.Seen()); diff != "" {
			t.Fatalf("seen (-want +got):\n%s", diff)
		}
		due := s.SeeRecords(c.prefix, pairs(c.now), c.unread)
		if due != c.loss || s.Intact() == c.loss {
			t.Errorf("%s: due %v, intact %v", name, due, s.Intact())
		}
		if may := s.Refusal(alone(), nil, true, began) == nil; may == c.loss {
			t.Errorf("%s: may claim %v", name, may)
		}
	}
}

// The end of a record that could not be read, or of a tombstone, is no loss.
func TestWhatIsNotRememberedIsNotMissed(t *testing.T) {
	s := settled()
	s.SeeRecords("net/", pairs(map[string]uint64{"net/a": 9, "net/b": 9, "net/c": 9}), map[string]bool{"net/a": true})
	s.SeeTombstone("net/b")
	if s.SeeRecords("net/", pairs(map[string]uint64{"net/c": 9}), nil) {
		t.Error("a loss is noticed")
	}
}

func TestTheEpochsRecord(t *testing.T) {
	broken := errors.New("cannot be read")
	for name, c := range map[string]struct {
		stored   record.Epoch
		revision uint64
		unread   error
		standing Standing
		intact   bool
		refusal  string
	}{
		"the same":       {first, 8, nil, Current, true, ""},
		"the next":       {next, 9, nil, Newer, true, ""},
		"none":           {record.Epoch{}, 0, nil, Lost, false, "is new or has lost data"},
		"one beside":     {record.Epoch{N: 1, ID: "x"}, 9, nil, Lost, false, "is new or has lost data"},
		"one for nobody": {record.Epoch{}, 9, broken, Current, true, "cannot be read"},
	} {
		s := settled()
		standing, _ := s.SeeEpoch(c.stored, c.revision, c.unread)
		if standing != c.standing || s.Intact() != c.intact {
			t.Errorf("%s: %v, intact %v", name, standing, s.Intact())
		}
		err := s.Refusal(alone(), nil, true, began)
		if (err == nil) != (c.refusal == "") || err != nil && !strings.Contains(err.Error(), c.refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What follows from a suspicion when the store was read.
func TestConclude(t *testing.T) {
	whole := map[string]uint64{"host/h2/doc": 5, "net/a": 9}
	for name, c := range map[string]struct {
		stored record.Epoch
		now    map[string]uint64
		more   func(*State) // while the store is read
		begin  bool
		lost   []string
		again  bool
		intact bool
	}{
		"the store has everything":         {first, whole, nil, false, nil, false, true},
		"a record is missing":              {first, map[string]uint64{"net/a": 9}, nil, true, []string{"host/h2/doc"}, false, false},
		"the epoch is missing":             {record.Epoch{}, whole, nil, true, nil, false, false},
		"somebody has begun the next one":  {next, map[string]uint64{}, nil, false, nil, false, false},
		"there was another sign meanwhile": {first, whole, (*State).NoteLoss, false, nil, true, false},
		"another epoch was entered":        {first, nil, func(s *State) { s.Enter(next, nil, began) }, false, nil, false, true},
	} {
		s := settled()
		s.SeeRecords("host/", pairs(map[string]uint64{"host/h2/doc": 5}), nil)
		s.SeeRecords("net/", pairs(map[string]uint64{"net/a": 9}), nil)
		s.NoteLoss()
		suspicion, holds := s.Suspicion(alone())
		if !holds {
			t.Fatal("no suspicion")
		}
		if c.more != nil {
			c.more(s)
		}
		begin, lost, again := s.Conclude(suspicion, c.stored, pairs(c.now), alone())
		if begin != c.begin || again != c.again || s.Intact() != c.intact {
			t.Errorf("%s: begin %v, again %v, intact %v", name, begin, again, s.Intact())
		}
		if diff := cmp.Diff(c.lost, lost); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestClaimsAreConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*State)
		now    map[string]uint64
		intact bool
	}{
		"nothing has changed":  {func(*State) {}, map[string]uint64{"host/h2/doc": 5}, true},
		"a record went back":   {func(*State) {}, map[string]uint64{"host/h2/doc": 4}, false},
		"another epoch began":  {func(s *State) { s.Enter(next, nil, began) }, map[string]uint64{"host/h2/doc": 4}, false},
		"a loss was noticed":   {(*State).NoteLoss, map[string]uint64{"host/h2/doc": 5}, false},
		"the watch was faster": {func(s *State) { s.SeeRecords("host/", pairs(map[string]uint64{"host/h2/doc": 8}), nil) }, map[string]uint64{"host/h2/doc": 7}, true},
	} {
		s := settled()
		s.SeeRecords("host/", pairs(map[string]uint64{"host/h2/doc": 5}), nil)
		id, before := s.Epoch.ID, s.Seen()
		c.change(s)
		if intact, _ := s.Confirm(id, before, pairs(c.now)); intact != c.intact {
			t.Errorf("%s: %v", name, intact)
		}
	}
}

// When a host claims new things in an epoch.
func TestSettle(t *testing.T) {
	for name, c := range map[string]struct {
		new     bool // the host has seen no epoch before
		hosts   []record.HostDoc
		change  func(*State, *View)
		after   time.Duration
		allowed bool
	}{
		"all have spoken":                      {false, []record.HostDoc{h2("b", false)}, nil, 0, true},
		"one has not":                          {false, []record.HostDoc{h2("a", false)}, nil, SettleTime - 1, false},
		"one has not for long":                 {false, []record.HostDoc{h2("a", false)}, nil, SettleTime, true},
		"one is not known here":                {false, nil, nil, 0, false},
		"one was down before":                  {false, nil, func(s *State, _ *View) { s.downBefore = map[string]bool{"h2": true} }, 0, true},
		"this host has not compared its own":   {false, []record.HostDoc{h2("b", false)}, func(s *State, _ *View) { s.claimsComparedIn = "a" }, time.Hour, false},
		"the hosts' records were not read":     {false, []record.HostDoc{h2("b", false)}, func(_ *State, v *View) { v.HostsRead = false }, time.Hour, false},
		"a new host, and another claims":       {true, []record.HostDoc{h2("b", true), {Host: overlay.Host{Name: "h3"}}}, nil, 0, true},
		"a new host, and nobody claims":        {true, []record.HostDoc{h2("b", false), {Host: overlay.Host{Name: "h3"}}}, nil, 0, false},
		"a host of before, and another claims": {false, []record.HostDoc{h2("b", true), {Host: overlay.Host{Name: "h3"}}}, nil, 0, false},
	} {
		s := settled()
		if c.new {
			fresh := New(began)
			s = &fresh
		}
		s.Enter(next, nil, began)
		s.SeeEpoch(next, 9, nil)
		s.claimsComparedIn = next.ID
		v := view(c.hosts...)
		if c.change != nil {
			c.change(s, &v)
		}
		if allowed, _ := s.Settle(v, began.Add(c.after)); allowed != c.allowed || s.MayClaim != c.allowed {
			t.Errorf("%s: allowed %v", name, allowed)
		}
	}
}

// When claims are compared with the store.
func TestComparisons(t *testing.T) {
	now := began.Add(time.Hour)
	s := settled()
	if _, due := s.BeginComparison(alone(), now); due {
		t.Error("a comparison is due, and nothing has happened")
	}
	s.CompareSoon()
	c, due := s.BeginComparison(alone(), now)
	if !due || c.First() {
		t.Errorf("it was asked for: due %v, the first in the epoch %v", due, c.First())
	}
	s.EndComparison(c, true)
	s.CompareSoon()
	if _, due = s.BeginComparison(alone(), now.Add(compareGap-1)); due {
		t.Error("it is due again at once")
	}
	c, due = s.BeginComparison(alone(), now.Add(compareGap))
	if !due {
		t.Error("it is not due after the gap")
	}
	s.EndComparison(c, false)
	if c, due = s.BeginComparison(alone(), now.Add(compareGap)); !due {
		t.Error("one that failed is not repeated")
	}
	s.EndComparison(c, true)
	s.SeeEpoch(next, 9, nil)
	s.Enter(next, nil, now)
	if c, due = s.BeginComparison(alone(), now); !due || !c.First() {
		t.Errorf("in a new epoch: due %v, the first in the epoch %v", due, c.First())
	}
}

// Hosts that a kernel knows, and nobody else.
func TestWhomTheKernelKnows(t *testing.T) {
	for name, c := range map[string]struct {
		hosts   []record.HostDoc
		change  func(*State, *View)
		suspect bool
	}{
		"nobody knows them":                 {nil, nil, true},
		"its records are whole":             {nil, func(_ *State, v *View) { v.Remains = nil }, false},
		"the epoch names them":              {nil, func(s *State, _ *View) { s.Epoch.VTEPs = []netip.Addr{vtep(2)} }, false},
		"they have spoken in this epoch":    {[]record.HostDoc{h2("a", true)}, nil, false},
		"they have not":                     {[]record.HostDoc{h2("x", true)}, nil, true},
		"they have not, and are waited for": {[]record.HostDoc{h2("x", true)}, func(s *State, _ *View) { s.MayClaim = false }, false},
		"the hosts' records were not read":  {nil, func(_ *State, v *View) { v.HostsRead = false }, false},
	} {
		s := settled()
		v := view(c.hosts...)
		v.Remains = []netip.Addr{vtep(1), vtep(2)}
		if c.change != nil {
			c.change(s, &v)
		}
		if _, holds := s.Suspicion(v); holds != c.suspect {
			t.Errorf("%s: a next epoch is to begin: %v", name, holds)
		}
	}
}

// A store that is of one host alone is another one than a cluster's.
func TestAnotherStore(t *testing.T) {
	for name, c := range map[string]struct {
		was, is         bool
		forgets, change bool
	}{
		"as before":     {false, false, false, false},
		"alone now":     {false, true, true, true},
		"alone no more": {true, false, true, true},
	} {
		s := settled()
		s.Alone = c.was
		forgets, change := s.Loaded(c.is)
		if forgets != c.forgets || change != c.change || s.Alone != c.is || (s.Epoch.ID == "") != c.forgets {
			t.Errorf("%s: forgets %v, another store %v, epoch %q", name, forgets, change, s.Epoch.ID)
		}
	}
}

// Whom a host names that may claim nothing in a new epoch.
func TestWhoIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*State, *View)
		after  time.Duration
		want   string
	}{
		"another host":                {func(*State, *View) {}, 0, "and host h2 has not"},
		"itself":                      {func(s *State, _ *View) { s.claimsComparedIn = first.ID }, 0, "and this host has not"},
		"its own containers":          {func(_ *State, v *View) { v.Remains = []netip.Addr{vtep(1)} }, SettleTime - 1, "this host's state was lost"},
		"its own containers for long": {func(_ *State, v *View) { v.Remains = []netip.Addr{vtep(1)} }, SettleTime, "and host h2 has not"},
	} {
		s := settled()
		s.SeeEpoch(next, 9, nil)
		s.Enter(next, nil, began)
		s.claimsComparedIn = next.ID
		v := view(h2("a", false))
		c.change(s, &v)
		if err := s.Refusal(v, nil, true, began.Add(c.after)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
