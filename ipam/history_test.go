package ipam

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// theSubnet is the one pool of a world.
var theSubnet = netip.MustParsePrefix("10.1.0.0/26")

// world is a few hosts with one network, and who really uses which address.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	cluster *memory
	flaky   flaky     // what the hosts have of cluster
	states  []*memory // what the hosts keep
	hosts   []*host
	dead    map[*host]bool
	use     map[netip.Addr]*host
	id      space.PoolID // zero until it is made
	trace   []string

	calls int
	fault func(state bool) (fault, bool) // for this call: what happens, and whether the host dies of it
}

func newWorld(t *testing.T, seed uint64, hosts int) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), cluster: newMemory(), //nolint:gosec // a test's
		use: map[netip.Addr]*host{}, dead: map[*host]bool{},
		fault: func(bool) (fault, bool) { return none, false },
	}
	for i := range hosts {
		h := newHost(t, fmt.Sprintf("h%d", i+1), nil)
		h.networks.hosts, h.networks.before = hosts, i
		state := newMemory()
		h.cluster = w.flaky.store(w.cluster, func(kvtest.Request) fault { return w.next(h, false) })
		h.state = new(flaky).store(state, func(kvtest.Request) fault { return w.next(h, true) })
		w.hosts, w.states = append(w.hosts, h), append(w.states, state)
		w.open(h)
	}
	return w
}

func (w *world) next(h *host, state bool) fault {
	if w.dead[h] {
		return before
	}
	w.calls++
	f, dies := w.fault(state)
	if dies {
		w.dead[h] = true
	}
	return f
}

func (w *world) open(h *host) {
	h.open()
	h.random = func(n uint64) uint64 { return w.rng.Uint64N(n) }
}

// step does one thing on one host.
func (w *world) step(h *host, what string) {
	w.t.Helper()
	w.trace = append(w.trace, h.name+" "+what)
	ctx := context.Background()
	h.clock.add(time.Second)
	switch what {
	case "make":
		// As Docker does it: the pool is let go of if anything fails.
		id, err := h.pool(theSubnet.String(), "")
		if err != nil {
			break
		}
		if _, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Gateway: true}); err != nil {
			_ = h.ReleasePool(ctx, id)
			break
		}
		if !w.dead[h] {
			w.id = id
			h.networks.add("n", true, w.subnet())
		}
	case "join":
		h.networks.add("n", h.networks.Attached("n"), w.subnet())
		if _, err := h.pool("", "", "weft.id=n"); err == nil && !w.dead[h] {
			h.networks.add("n", true, w.subnet())
		}
	case "any":
		if a, err := h.any(w.id); err == nil && !w.dead[h] {
			w.hand(h, a)
		}
	case "named":
		a := w.id.Subnet.Addr().Next().Next().Next() // .3
		if err := h.named(w.id, a.String()); err == nil && !w.dead[h] {
			w.hand(h, a)
		}
	case "release":
		if a, ok := w.oneOf(h); ok {
			delete(w.use, a)
			delete(h.networks.owners, a)
			// Docker takes no error for an answer.
			_ = h.ReleaseAddress(ctx, w.id, a)
		}
	case "pass":
		_, _ = h.pass(ctx)
	case "check":
		h.clock.add(checkTime)
		_, _ = h.pass(ctx)
	case "crash":
		w.dead[h] = true
	case "late":
		w.flaky.flush()
	}
	if w.dead[h] {
		w.restart(h)
	}
}

func (w *world) subnet() overlay.Subnet {
	return overlay.Subnet{Prefix: theSubnet, Gateway: netip.MustParseAddr("10.1.0.1")}
}

func (w *world) hand(h *host, a netip.Addr) {
	w.t.Helper()
	if other, ok := w.use[a]; ok {
		w.t.Fatalf("%v handed out on %s while in use on %s, after\n%q", a, h.name, other.name, w.trace)
	}
	w.use[a] = h
	h.networks.owners[a] = "a container"
}

func (w *world) oneOf(h *host) (netip.Addr, bool) {
	for _, a := range slices.SortedFunc(maps.Keys(w.use), netip.Addr.Compare) {
		if w.use[a] == h {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// restart is weft's start after a crash: what Docker does not know of is
// released, what Docker has must be known.
func (w *world) restart(h *host) {
	w.t.Helper()
	w.dead[h] = false
	saved := w.fault
	w.fault = func(bool) (fault, bool) { return none, false }
	w.open(h)
	w.reconcile(h)
	w.fault = saved
}

func (w *world) reconcile(h *host) {
	w.t.Helper()
	if !h.networks.Attached("n") {
		h.clock.add(detachTime)
		if err := h.Keep(context.Background(), nil); err != nil {
			w.t.Fatal(err)
		}
	}
	used, held := space.Set{}, space.Set{}
	for _, a := range h.Held(theSubnet) {
		held[a] = struct{}{}
	}
	for _, c := range h.Claims(theSubnet) {
		if !held.Has(c.Addr) {
			w.t.Fatalf("%s does not show that it holds %v, after\n%q", h.name, c.Addr, w.trace)
		}
		delete(held, c.Addr)
		if c.Used {
			used[c.Addr] = struct{}{}
			if w.use[c.Addr] != h {
				h.release(w.id, c.Addr)
			}
		}
	}
	if len(held) > 0 {
		w.t.Fatalf("%s shows that it holds %v, after\n%q", h.name, slices.Collect(maps.Keys(held)), w.trace)
	}
	for a, by := range w.use {
		if by == h && !used.Has(a) {
			w.t.Fatalf("%s has forgotten that %v is in use, after\n%q", h.name, a, w.trace)
		}
	}
}

// end lets everything heal and then go, and looks for what is left.
func (w *world) end() {
	w.t.Helper()
	w.fault = func(bool) (fault, bool) { return none, false }
	w.flaky.flush()
	for _, h := range w.hosts {
		h.clock.add(checkTime)
		h.work()
		w.reconcile(h)
		h.work()
	}
	want := map[string]string{}
	for _, h := range w.hosts {
		for _, c := range h.Claims(theSubnet) {
			want[record.AddrKey(theSubnet, c.Addr)] = h.name
		}
		if len(h.lost) > 0 {
			w.t.Errorf("%s lost %v, after\n%q", h.name, h.lost, w.trace)
		}
	}
	if diff := cmp.Diff(want, w.holders()); diff != "" {
		w.t.Fatalf("hosts know (-) and the cluster has (+):\n%s\nafter %q", diff, w.trace)
	}
	for a, h := range w.use {
		h.release(w.id, a)
	}
	for i, h := range w.hosts {
		h.networks.remove("n")
		for range w.calls { // more often than it was asked for
			if err := h.ReleasePool(context.Background(), space.PoolID{Subnet: theSubnet}); err != nil {
				w.t.Fatal(err)
			}
		}
		h.work()
		h.clock.add(scanTime)
		h.work()
		if got := w.states[i].keys(""); len(got) > 0 {
			w.t.Errorf("%s keeps %v, after\n%q", h.name, got, w.trace)
		}
	}
	for _, key := range w.cluster.keys("") {
		if key != record.PoolSeq {
			w.t.Errorf("the cluster keeps %s, after\n%q", key, w.trace)
		}
	}
}

func (w *world) holders() map[string]string {
	got := map[string]string{}
	for _, key := range w.cluster.keys(record.AddrPrefix) {
		h, err := record.DecodeHolder(w.cluster.pairs[key])
		if err != nil {
			w.t.Fatal(err)
		}
		got[key] = h.Host
	}
	return got
}

// script is a history in which every kind of store call occurs.
func script(w *world) {
	h1, h2 := w.hosts[0], w.hosts[1]
	for _, s := range []struct {
		h    *host
		what string
	}{
		{h1, "make"},
		{h1, "make"},
		{h1, "pass"},
		{h2, "join"},
		{h2, "pass"},
		{h1, "any"},
		{h1, "any"},
		{h2, "any"},
		{h1, "named"},
		{h2, "named"},
		{h1, "pass"},
		{h2, "pass"},
		{h1, "release"},
		{h1, "release"},
		{h1, "release"},
		{h1, "pass"},
		{h2, "named"},
		{h2, "any"},
		{h2, "any"},
		{h2, "any"},
		{h2, "any"},
		{h2, "pass"},
		{h1, "check"},
		{h2, "release"},
		{h2, "release"},
		{h2, "check"},
		{h1, "any"},
		{h1, "pass"},
	} {
		if s.what != "make" && !w.id.Subnet.IsValid() {
			continue // it could not even be made
		}
		if s.what == "make" && w.id.Subnet.IsValid() {
			continue
		}
		w.step(s.h, s.what)
	}
}

func TestCrashAtEveryStoreCall(t *testing.T) {
	t.Parallel()
	clean := newWorld(t, 1, 2)
	script(clean)
	calls := clean.calls
	clean.end()
	t.Logf("%d store calls", calls)
	for _, kind := range []fault{before, after, late} {
		for _, dies := range []bool{true, false} {
			for at := 1; at <= calls; at++ {
				w := newWorld(t, 1, 2)
				w.fault = func(state bool) (fault, bool) {
					if w.calls != at || state && (kind == late || !dies) {
						return none, false // a file does not fail like that
					}
					w.trace = append(w.trace, fmt.Sprintf("(fault %d at call %d)", kind, at))
					return kind, dies
				}
				script(w)
				w.end()
				if t.Failed() {
					t.Fatalf("fault %d, death %v at call %d", kind, dies, at)
				}
			}
		}
	}
}

func TestRandomHistories(t *testing.T) {
	t.Parallel()
	histories := 600
	if testing.Short() {
		histories = 100
	}
	whats := []string{
		"any", "any", "any", "any", "release", "release", "release", "named",
		"pass", "pass", "pass", "check", "crash", "late", "join",
	}
	for seed := range histories {
		w := newWorld(t, uint64(seed), 3)
		w.step(w.hosts[0], "make")
		for _, h := range w.hosts[1:] {
			w.step(h, "join")
		}
		faults := rand.New(rand.NewPCG(uint64(seed), 1)) //nolint:gosec // a test's
		w.fault = func(state bool) (fault, bool) {
			if faults.IntN(12) > 0 {
				return none, false
			}
			dies := faults.IntN(3) == 0
			if state {
				return fault(1 + faults.IntN(2)), true
			}
			return fault(1 + faults.IntN(3)), dies
		}
		for range 120 {
			w.step(w.hosts[faults.IntN(3)], whats[faults.IntN(len(whats))])
		}
		w.end()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
