package keys_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
)

// ring is one whose keys are called by letters, the newest first.
func ring(generation uint64, letters string) keys.Ring {
	return keys.Ring{Generation: generation, Keys: strings.Split(letters, "")}
}

// has is what the record of a host says that has the ring.
func has(generation uint64, letters string) overlay.Keys { return ring(generation, letters).Held() }

// none is the record of a weft that knows no change of keys.
var none overlay.Keys

func TestByWhichKeyAHostIsTold(t *testing.T) {
	for _, tt := range []struct {
		name string
		ring keys.Ring
		host overlay.Keys
		want string
	}{
		{"nothing has changed", ring(0, "a"), has(0, "a"), "a"},
		{"it has the new one", ring(1, "ba"), has(1, "ba"), "b"},
		{"and the former one is gone there already", ring(1, "ba"), has(1, "b"), "b"},
		{"it has not heard of the new one", ring(1, "ba"), has(0, "a"), "a"},
		{"nor of the one before", ring(2, "cba"), has(0, "a"), "a"},
		{"but of that one", ring(2, "cba"), has(1, "ba"), "b"},
		{"this host has not heard of the new one", ring(0, "a"), has(1, "ba"), "a"},
		{"its key is gone", ring(1, "b"), has(0, "a"), "b"},
		{"its key is gone, and there are two", ring(2, "cb"), has(0, "a"), "b"},
		{"it does not say", ring(1, "ba"), none, "a"},
		{"there is none", keys.Ring{}, has(0, "a"), ""},
	} {
		if got := tt.ring.For(tt.host); got != tt.want {
			t.Errorf("%s: by %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestWhatAHostSealsByItHas(t *testing.T) {
	for _, tt := range []struct {
		name string
		host overlay.Keys
		by   string
		want string
	}{
		{"a newer one than its record says", has(0, "a"), "b", "b"},
		{"the same", has(1, "ba"), "b", "b"},
		{"an older one, for this host's sake", has(1, "ba"), "a", "b"},
		{"one that is not known here", has(0, "a"), "x", "a"},
		{"one that is known, and its record's is not", has(7, "x"), "b", "b"},
	} {
		if got := ring(1, "ba").Heard(tt.host, keys.ID(tt.by)).Newest; got != keys.ID(tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, keys.ID(tt.want))
		}
	}
	if got := ring(1, "ba").Heard(none, keys.ID("b")); got != none {
		t.Errorf("a host that does not say what it has: got %v", got)
	}
}

func TestWhoIsBehind(t *testing.T) {
	for _, tt := range []struct {
		name string
		ring keys.Ring
		host overlay.Keys
		want bool
	}{
		{"the same", ring(1, "ba"), has(1, "ba"), false},
		{"a new key", ring(0, "a"), has(1, "ba"), true},
		{"the end of a key", ring(1, "ba"), has(1, "b"), true},
		{"it has not seen that end", ring(1, "b"), has(1, "ba"), false},
		{"it has not seen the new key", ring(1, "ba"), has(0, "a"), false},
		{"another key in the same generation", ring(1, "ba"), has(1, "ca"), true},
		{"it does not say", ring(0, "a"), none, false},
		{"nothing is known here", keys.Ring{}, has(0, "a"), true},
	} {
		if got := tt.ring.Behind(tt.host); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

// A store that has gone back is told the keys again, and no host is cut off by that.
func TestWhatFollowsFromTheStoresRing(t *testing.T) {
	for _, tt := range []struct {
		name          string
		known, stored keys.Ring
		want          keys.Ring
		write         bool
	}{
		{"the same", ring(1, "b"), ring(1, "b"), ring(1, "b"), false},
		{"a new key", ring(0, "a"), ring(1, "ba"), ring(1, "ba"), false},
		{"the end of a key", ring(1, "ba"), ring(1, "b"), ring(1, "b"), false},
		{"from before that end", ring(1, "b"), ring(1, "ba"), ring(1, "ba"), false},
		{"from before the new key", ring(1, "b"), ring(0, "a"), ring(2, "ba"), true},
		{"from before two new keys", ring(2, "c"), ring(0, "a"), ring(3, "ca"), true},
		{"from before a new key, within the change", ring(1, "ba"), ring(0, "a"), ring(2, "ba"), true},
		{"another one was made of the snapshot", ring(1, "ba"), ring(1, "ca"), ring(2, "cab"), true},
		{"two others were", ring(1, "ba"), ring(2, "dc"), ring(2, "dc"), false},
		{"a store without keys", ring(1, "b"), keys.Ring{}, ring(2, "b"), true},
		{"a host without keys", keys.Ring{}, ring(1, "b"), ring(1, "b"), false},
	} {
		if got, write := tt.known.Meet(tt.stored); write != tt.write || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, %v", tt.name, got, write)
		}
	}
}

func TestWhenTheKeyIsChanged(t *testing.T) {
	alive := func(k overlay.Keys) keys.Member { return keys.Member{Name: "h2", Keys: k, Alive: true} }
	dead := keys.Member{Name: "h2", Keys: has(0, "a")}
	left := func(k overlay.Keys) map[string]overlay.Keys { return map[string]overlay.Keys{"h9": k} }
	aged := func(letter string, age time.Duration) map[string]time.Duration {
		return map[string]time.Duration{keys.ID(letter): age}
	}
	for _, tt := range []struct {
		name  string
		state keys.State
		want  keys.Ring
	}{
		{"nothing is due", keys.State{Ring: ring(0, "a"), Members: []keys.Member{alive(has(0, "a"))}}, ring(0, "a")},
		{"there are no keys yet", keys.State{Gone: left(none)}, keys.Ring{}},
		{"a host has left", keys.State{Ring: ring(0, "a"), Members: []keys.Member{alive(has(0, "a"))}, Gone: left(has(0, "a"))}, ring(1, "na")},
		{"it left before the change", keys.State{Ring: ring(1, "b"), Gone: left(has(0, "a"))}, ring(1, "b")},
		{"it was of a weft that says nothing", keys.State{Ring: ring(0, "a"), Gone: left(none)}, ring(0, "a")},
		{"it left within a change", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(has(0, "a"))}, Gone: left(has(1, "ba"))}, ring(2, "nba")},
		{"and nobody needs the one before", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(has(1, "ba"))}, Gone: left(has(1, "ba"))}, ring(2, "nb")},
		{"somebody's weft cannot follow", keys.State{Ring: ring(0, "a"), Members: []keys.Member{alive(none)}, Gone: left(has(0, "a"))}, ring(0, "a")},
		{"not all have it", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(has(1, "ba")), alive(has(0, "a"))}}, ring(1, "ba")},
		{"all have it", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(has(1, "ba")), alive(has(1, "b"))}}, ring(1, "b")},
		{"a dead one has not", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(has(1, "ba")), dead}}, ring(1, "b")},
		{"one that is alive still has not, a day later", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(has(0, "a"))}, Age: aged("a", keys.Bound)}, ring(1, "b")},
		{"nor just before that", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(has(0, "a"))}, Age: aged("a", keys.Bound-time.Second)}, ring(1, "ba")},
		{"one came that does not say", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(none)}, Age: aged("a", time.Minute)}, ring(1, "ba")},
		{"some minutes ago", keys.State{Ring: ring(1, "ba"), Members: []keys.Member{alive(none)}, Age: aged("a", keys.SilentBound)}, ring(1, "b")},
		{"of three keys the oldest is needed", keys.State{Ring: ring(2, "cba"), Members: []keys.Member{alive(has(0, "a"))}}, ring(2, "cba")},
		{"of three keys the one between is needed", keys.State{Ring: ring(2, "cba"), Members: []keys.Member{alive(has(1, "ba"))}}, ring(2, "cb")},
	} {
		got, changed := tt.state.Next(func() string { return "n" })
		if changed == reflect.DeepEqual(got, tt.state.Ring) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %v, %v", tt.name, got, changed)
		}
	}
}

func TestNothingIsSealedByAKeyWhoseBoundHasPassed(t *testing.T) {
	s := keys.State{Ring: ring(1, "ba"), Age: map[string]time.Duration{keys.ID("a"): keys.Bound}}
	if got, past := s.Usable(); got.For(has(0, "a")) != "b" || !slices.Equal(past, []string{"a"}) {
		t.Errorf("got %v, %v", got, past)
	}
	s.Age[keys.ID("a")]--
	if got, past := s.Usable(); got.For(has(0, "a")) != "a" || past != nil {
		t.Errorf("before: got %v, %v", got, past)
	}
}

func TestWhoIsWaitedFor(t *testing.T) {
	s := keys.State{Ring: ring(1, "ba"), Members: []keys.Member{
		{Name: "h4", Keys: has(0, "a"), Alive: true}, {Name: "h3", Keys: has(0, "a")}, {Name: "h2", Keys: none, Alive: true}, {Name: "h5", Keys: has(1, "b"), Alive: true},
	}}
	if got := s.Waits(); !slices.Equal(got, []string{"h2", "h4"}) {
		t.Errorf("%v are waited for", got)
	}
	if got := s.Unable(); !slices.Equal(got, []string{"h2"}) {
		t.Errorf("%v are unable", got)
	}
}

// cluster is hosts that take over what the store has in whatever order, or never.
type cluster struct {
	t      *testing.T
	stored keys.Ring
	made   int
	hosts  []*member
	path   []string
}

type member struct {
	ring   keys.Ring
	former []string       // still taken
	record overlay.Keys   // as the store has it
	saw    []overlay.Keys // of each host's record
	heard  []string       // of each host: the newest key by which it has sealed
	cut    bool           // off from the store
}

// knows is what the host knows of another's keys.
func (m *member) knows(other int) overlay.Keys { return m.ring.Heard(m.saw[other], m.heard[other]) }

func newCluster(t *testing.T, n int) *cluster {
	c := &cluster{t: t, stored: ring(0, "a")}
	for range n {
		held := c.stored.Held()
		m := &member{ring: c.stored, record: held, saw: slices.Repeat([]overlay.Keys{held}, n), heard: slices.Repeat([]string{held.Newest}, n)}
		c.hosts = append(c.hosts, m)
	}
	return c
}

func (c *cluster) fresh() string { c.made++; return string(rune('a' + c.made)) }

func (m *member) takeOver(r keys.Ring) {
	for _, key := range m.ring.Keys {
		if !slices.Contains(r.Keys, key) {
			m.former = append(m.former, key)
		}
	}
	m.ring = r
}

// step does one thing at one host.
func (c *cluster) step(draw *rand.Rand) {
	i := draw.IntN(len(c.hosts))
	m, j := c.hosts[i], draw.IntN(len(c.hosts))
	what := draw.IntN(7)
	switch {
	case what < 5 && m.cut:
		return
	case what < 2: // it changes or prunes, by what it has seen and heard of the others
		if !reflect.DeepEqual(m.ring, c.stored) {
			return
		}
		s := keys.State{Ring: m.ring}
		for k := range c.hosts {
			if k != i {
				s.Members = append(s.Members, keys.Member{Keys: m.knows(k), Alive: true})
			}
		}
		if next, changed := s.Next(c.fresh); changed {
			c.stored = next
		} else if what == 0 && c.made < 20 {
			c.stored = s.Rotated(c.fresh())
		}
		m.takeOver(c.stored)
	case what == 2:
		m.takeOver(c.stored)
	case what == 3:
		m.record = m.ring.Held()
	case what == 4:
		m.saw[j] = c.hosts[j].record
	case what == 5 && draw.IntN(10) == 0: // after Linger, in which all see what is in the store, or hear each other
		for _, other := range c.hosts {
			if !other.cut {
				other.takeOver(c.stored)
				other.record = c.stored.Held()
			}
		}
		for k, other := range c.hosts {
			for l := range c.hosts {
				if !other.cut {
					other.saw[l] = c.hosts[l].record
				}
				if l != k {
					c.hear(k, l)
				}
			}
		}
		m.former = nil
	case what == 6 && draw.IntN(20) == 0:
		m.cut = true
	}
	c.path = append(c.path, fmt.Sprint(i, ":", what))
}

// hear has k hear what l says.
func (c *cluster) hear(k, l int) {
	to, from := c.hosts[k], c.hosts[l]
	to.heard[l] = to.ring.Heard(overlay.Keys{Newest: to.heard[l]}, keys.ID(from.ring.For(from.knows(k)))).Newest
}

func (c *cluster) check() {
	for k, to := range c.hosts {
		for l, from := range c.hosts {
			if key := from.ring.For(from.knows(k)); k != l && !slices.Contains(to.ring.Keys, key) && !slices.Contains(to.former, key) {
				c.t.Fatalf("host %d seals by %q for host %d, which has %v and %v; the store has %v; %v", l, key, k, to.ring, to.former, c.stored, c.path)
			}
		}
	}
}

// Whatever hosts see and do in whatever order, and whoever is cut off from the store for
// good, all can always read each other.
func TestAllHostsAlwaysReadEachOther(t *testing.T) {
	changes := 0
	for seed := range uint64(500) {
		draw := rand.New(rand.NewPCG(seed, 1))
		c := newCluster(t, 3)
		for range 150 {
			c.step(draw)
			c.check()
		}
		changes += c.made
	}
	if t.Log(changes, "keys"); changes < 1000 {
		t.Error("so few keys were made that nothing was tested")
	}
}
