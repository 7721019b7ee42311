package networks_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/networks"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

var (
	subnet  = netip.MustParsePrefix("10.1.0.0/24")
	created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// blue is the network of these tests.
func blue() overlay.Network {
	return overlay.Network{
		ID: "blue", Name: "blue", VNI: 70001, Host: "h1", Version: 1, Created: created,
		Subnets: []overlay.Subnet{{Prefix: subnet}},
	}
}

func removed(n overlay.Network) overlay.Network {
	n.Deleted = created.Add(time.Hour)
	n.Version++
	return n
}

// with knows of the networks.
func with(known ...overlay.Network) *networks.Networks {
	all := networks.New()
	for _, n := range known {
		all.Learn(n)
	}
	return all
}

func TestFind(t *testing.T) {
	gone := removed(overlay.Network{ID: "gone", Name: "old", Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("10.2.0.0/24")}}})
	all := with(blue(), gone)
	for idOrName, want := range map[string]bool{"blue": true, "gone": false, "old": false, "": false, "red": false} {
		if _, got := all.Find(idOrName); got != want {
			t.Errorf("a live network %q is found: %t", idOrName, got)
		}
	}
	if n, _ := all.OfSubnet(subnet); n.ID != "blue" {
		t.Errorf("%v is of network %q", subnet, n.ID)
	}
	for _, p := range []string{"10.1.0.0/25", "10.2.0.0/24"} {
		if n, found := all.OfSubnet(netip.MustParsePrefix(p)); found {
			t.Errorf("%s is of network %q", p, n.ID)
		}
	}
	if n, known := all.Record("gone"); !known || n.Deleted.IsZero() {
		t.Errorf("the tombstone is %v", n)
	}
}

// Whether Docker's network may be blue.
func TestMayAttach(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(all *networks.Networks)
		to     overlay.Network
		want   string // in the refusal; "": it may
	}{
		"known":                    {before: func(*networks.Networks) {}, to: blue()},
		"gone":                     {before: func(*networks.Networks) {}, to: removed(blue()), want: "was removed from the cluster"},
		"another of Docker's":      {before: func(all *networks.Networks) { all.Attach("other", blue(), created) }, to: blue(), want: "taken"},
		"Docker's one is another":  {before: func(all *networks.Networks) { all.Attach("d", overlay.Network{ID: "red"}, created) }, to: blue(), want: "taken"},
		"the same again":           {before: func(all *networks.Networks) { all.Attach("d", blue(), created) }, to: blue()},
		"a person takes it back":   {before: asked, to: blue()},
		"weft makes it meanwhile":  {before: func(all *networks.Networks) { asked(all); all.BeginMirroring("blue") }, to: blue(), want: "was removed from the cluster"},
		"the store is asked":       {before: func(all *networks.Networks) { asked(all); all.BeginRemoval("blue") }, to: blue(), want: "is being removed"},
		"the store has refused it": {before: func(all *networks.Networks) { asked(all); all.BeginRemoval("blue"); all.EndRemoval("blue") }, to: blue()},
	} {
		all := with(blue())
		tc.before(all)
		err := all.MayAttach("d", tc.to)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		if got := errors.Is(err, networks.ErrTaken); got != (tc.want == "taken") {
			t.Errorf("%s: it is %v, which is ErrTaken: %t", name, err, got)
		}
	}
}

// asked has a person remove blue here.
func asked(all *networks.Networks) {
	all.Attach("was", blue(), created)
	all.Detach("was", true)
}

// A removal that was asked here is cancelled by Docker's having the network again, but not
// while the store is asked for it.
func TestRemoval(t *testing.T) {
	all := with(blue())
	asked(all)
	if got := all.Removals(); !slices.Equal(got, []string{"blue"}) || !all.IsRemoval("blue") {
		t.Errorf("asked for are %v", got)
	}
	all.Attach("d", blue(), created)
	if all.IsRemoval("blue") || all.BeginRemoval("blue") {
		t.Error("Docker has it again, and it is still to be removed")
	}
	all.EndRemoval("blue")
	if all.IsRemoval("blue") {
		t.Error("the end of a removal that is wanted no more asks for it")
	}
	all.Detach("d", true)
	if !all.BeginRemoval("blue") {
		t.Error("it is to be removed, and the store is not asked")
	}
	all.DropRemoval("blue")
	if all.IsRemoval("blue") || all.MayAttach("d", blue()) != nil {
		t.Error("the removal is settled, and blue cannot be attached")
	}
}

// Which of Docker's networks go from the cluster when Docker does not have them any more.
func TestDetaching(t *testing.T) {
	nameless := blue()
	nameless.Name = ""
	for name, tc := range map[string]struct {
		known      overlay.Network
		everywhere bool
		want       bool
	}{
		"a person removes it":        {known: blue(), everywhere: true, want: true},
		"Docker has lost it":         {known: blue()},
		"Docker has lost a nameless": {known: nameless, want: true},
		"it is removed already":      {known: removed(blue()), everywhere: true},
		"nobody knows it":            {known: overlay.Network{ID: "red"}, everywhere: true},
	} {
		all := with(blue())
		all.Attach("d", blue(), created)
		if all.Learn(tc.known); tc.known.ID != "blue" {
			all.Bury("blue")
		}
		network, removal, known := all.Detaching("d", tc.everywhere)
		if network != "blue" || removal != tc.want || !known {
			t.Errorf("%s: network %q, removed from the cluster: %t", name, network, removal)
		}
	}
	if _, _, known := with(blue()).Detaching("d", true); known {
		t.Error("Docker loses a network that it has not had")
	}
}

// Which network Docker means by a new one's subnets and options.
func TestRecorded(t *testing.T) {
	plain := overlay.Network{VNI: 70001, Subnets: []overlay.Subnet{{Prefix: subnet}}}
	byID := plain
	byID.ID = "blue"
	other := overlay.Network{VNI: 70002, Subnets: plain.Subnets}
	for name, tc := range map[string]struct {
		known     overlay.Network
		mirroring bool
		attached  bool
		want      overlay.Network
		found     bool
		mirrored  bool
	}{
		"a person's":                 {known: blue(), want: plain},
		"weft's":                     {known: blue(), mirroring: true, want: plain, found: true, mirrored: true},
		"another while weft's waits": {known: blue(), mirroring: true, want: other},
		"by its id":                  {known: blue(), want: byID, found: true},
		"by its id, weft's":          {known: blue(), mirroring: true, want: byID, found: true, mirrored: true},
		"again":                      {known: blue(), attached: true, want: other, found: true, mirrored: true},
		"gone meanwhile":             {known: removed(blue()), mirroring: true, want: plain, found: true, mirrored: true},
		"gone before":                {known: removed(blue()), want: plain},
	} {
		all := with(tc.known)
		if tc.attached {
			all.Attach("d", tc.known, created)
		}
		if tc.mirroring {
			all.BeginMirroring("blue")
		}
		n, mirrored := all.Recorded("d", tc.want)
		if (n.ID == "blue") != tc.found || mirrored != tc.mirrored {
			t.Errorf("%s: network %q, asked for by weft: %t", name, n.ID, mirrored)
		}
	}
	all := with(blue())
	all.BeginMirroring("blue")
	all.BeginMirroring("blue")
	all.EndMirroring("blue")
	if _, found := all.Mirrored(subnet); !found || !all.IsMirrored("blue") {
		t.Error("of two requests one is over, and none is left")
	}
	all.EndMirroring("blue")
	if _, found := all.Mirrored(subnet); found || all.IsMirrored("blue") {
		t.Error("both requests are over, and one is left")
	}
}

func pair(t *testing.T, n overlay.Network) kvstore.Pair {
	t.Helper()
	value, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return kvstore.Pair{Key: record.NetworkKey(n.ID), Value: value, Revision: 1}
}

// What the store shows of blue, which this host's Docker has in version 2.
func TestSee(t *testing.T) {
	now, later := blue(), blue()
	now.Version, later.Version = 2, 3
	for name, tc := range map[string]struct {
		shown   []kvstore.Pair
		version uint64 // of blue afterwards
		absent  bool
		changed bool
		unread  int
	}{
		"nothing":         {version: 2, absent: true, changed: true},
		"the same":        {shown: []kvstore.Pair{pair(t, now)}, version: 2},
		"a later record":  {shown: []kvstore.Pair{pair(t, later)}, version: 3, changed: true},
		"an earlier one":  {shown: []kvstore.Pair{pair(t, blue())}, version: 2, absent: true, changed: true},
		"one without use": {shown: []kvstore.Pair{{Key: record.NetworkKey("blue"), Value: []byte("?")}}, version: 2, unread: 1},
	} {
		all := with()
		all.Attach("d", now, created)
		seen, err := all.See(tc.shown)
		if err != nil || seen.Changed != tc.changed || len(seen.Unread) != tc.unread || len(seen.Passed) != tc.unread {
			t.Errorf("%s: seen is %+v, %v", name, seen, err)
		}
		if n, _ := all.Record("blue"); n.Version != tc.version {
			t.Errorf("%s: blue is in version %d", name, n.Version)
		}
		if got := all.Absent(); (len(got) == 1) != tc.absent {
			t.Errorf("%s: the store has lost %v", name, got)
		}
		if durable := len(seen.Ops) > 0; durable != (tc.version == 3) {
			t.Errorf("%s: to be durable are %v", name, seen.Ops)
		}
		if again, err := all.See(tc.shown); err != nil || again.Changed {
			t.Errorf("%s: the same once more is news: %+v, %v", name, again, err)
		}
	}
	all := with(now)
	if seen, err := all.See([]kvstore.Pair{pair(t, removed(now))}); err != nil || !slices.Equal(seen.Tombstones, []string{"net/blue"}) {
		t.Errorf("with a tombstone seen is %+v, %v", seen, err)
	}
	if _, live := all.Find("blue"); live {
		t.Error("blue lives after its tombstone was seen")
	}
}

// A tombstone is old once weft has run for a month since it was first seen as it is, over
// all processes. A network that Docker still has, or whose removal is not settled, is not.
func TestTombstonesAge(t *testing.T) {
	const month = 30 * 24 * time.Hour
	state := map[string][]byte{}
	pass := func(all *networks.Networks, d time.Duration) {
		t.Helper()
		now, ops, err := all.Count(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ops {
			if delete(state, op.Key); op.Kind == kvstore.Set {
				state[op.Key] = op.Value
			}
		}
		all.Counted(now)
	}
	gone := removed(blue())
	all := with(gone)
	pass(all, time.Hour)
	pass(all, month)
	if all.IsOld(gone) {
		t.Error("it is old after a month to the hour")
	}
	next := with(gone)
	for key, value := range state {
		if mine, err := next.Load(key, func(v any) error { return json.Unmarshal(value, v) }); !mine || err != nil {
			t.Errorf("state's %s is none of networks': %v", key, err)
		}
	}
	pass(next, time.Second)
	if !next.IsOld(gone) {
		t.Error("it is not old after more than a month in two processes")
	}
	next.Attach("d", gone, created)
	if next.IsOld(gone) {
		t.Error("it is old although Docker has it")
	}
	next.Detach("d", true)
	if next.IsOld(gone) {
		t.Error("it is old although its removal is not settled")
	}
	next.DropRemoval("blue")
	next.Learn(removed(gone)) // again, as it came back meanwhile
	pass(next, time.Second)
	if n, _ := next.Record("blue"); next.IsOld(n) {
		t.Error("it was removed again, and its age did not begin anew")
	}
	next.Learn(blue())
	pass(next, time.Second)
	if len(state) != 1 {
		t.Errorf("it lives again, and state has %v of its tombstone", state)
	}
	next.Bury("blue")
	if _, known := next.Record("blue"); known {
		t.Error("it is known after it was buried")
	}
}
