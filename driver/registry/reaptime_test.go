package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// reapTime is that of the tests here, whose clock is that of a synctest bubble.
const reapTime = 10 * time.Minute

// watched is a store that keeps what was really changed under some prefixes.
type watched struct {
	kvstore.Store
	mu      sync.Mutex
	changes []change
}

type change struct {
	ops []kvstore.Op
	at  time.Time
}

func (w *watched) Txn(ctx context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	out, err := w.Store.Txn(ctx, ops...)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changes = append(w.changes, change{slices.Clone(ops), time.Now()})
	}
	return out, err
}

// of gives the transactions with an operation that is accepted.
func (w *watched) of(accept func(kvstore.Op) bool) []change {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []change
	for _, c := range w.changes {
		if slices.ContainsFunc(c.ops, accept) {
			out = append(out, c)
		}
	}
	return out
}

func (w *watched) marks() []change {
	return w.of(func(op kvstore.Op) bool { return op.Key == "host/h3/dead" && op.Kind == kvstore.CAS })
}

// trio are three hosts in one network, of which h3 has a container and an address
// beside.
type trio struct {
	t          *testing.T
	cluster    *watched
	store      *kvtest.Cable // below it
	h1, h2, h3 *machine
	net        overlay.Network
	keys       []string // what h3 has in the store beside its own record
}

var used, spare = netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("10.1.0.9")

// claim gives the address to the host's Docker.
func (m *machine) claim(a netip.Addr) error {
	_, err := m.addrs.RequestAddress(m.t.Context(), ipam.AddressRequest{Pool: space.PoolID{Subnet: subnetA}, Addr: a, Endpoint: true})
	return err
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	s := &trio{t: t, store: kvtest.NewCable(registrytest.OpenStore(t, "cluster.db"))}
	s.cluster = &watched{Store: s.store}
	for i, name := range []string{"h1", "h2", "h3"} {
		m := &machine{t: t, name: name, state: registrytest.OpenStore(t, name+".db"), reap: reapTime, real: true, vtep: "192.0.2." + string(rune('1'+i))}
		m.start(s.cluster)
		t.Cleanup(func() { m.stop() })
		*[]**machine{&s.h1, &s.h2, &s.h3}[i] = m
		eventually(t, name+" may claim", m.mayClaim)
		m.do("rebuilt", m.Rebuilt(t.Context()))
	}
	_, err := s.h3.addrs.RequestPool(t.Context(), ipam.PoolRequest{Subnet: subnetA})
	s.h3.do("request pool", err)
	s.net = s.h3.create("d3", want(subnetA))
	for _, m := range []*machine{s.h1, s.h2} {
		m.create("d-"+m.name, overlay.Network{ID: waitID(t, m, s.net), Subnets: s.net.Subnets})
	}
	s.h3.do("claim", s.h3.claim(used))
	s.h3.do("claim", s.h3.claim(spare))
	s.h3.join("e3", s.net.ID, used.String())
	s.keys = []string{"addr/10.1.0.0_24/" + used.String(), "addr/10.1.0.0_24/" + spare.String(), "at/h3/" + s.net.ID}
	eventually(t, "all see h3 and its container", func() bool { return s.h1.sends("h3", s.net.ID) && s.h2.sends("h3", s.net.ID) })
	return s
}

// sends says whether the host sends to the container e3 of the other one.
func (m *machine) sends(host, network string) bool {
	_, up := m.Snapshot().Hosts[host]
	return up && m.peerHas(network, host, "e3")
}

// has gives those of h3's keys that the store has, with their revisions.
func (s *trio) has() map[string]uint64 {
	s.t.Helper()
	out := map[string]uint64{}
	for _, key := range s.keys {
		p, err := s.cluster.Get(s.t.Context(), key)
		if err == nil {
			out[key] = p.Revision
		} else if !errors.Is(err, kvstore.ErrNotFound) {
			s.t.Fatal(err)
		}
	}
	return out
}

// whole fails if anything that h3 has was freed.
func (s *trio) whole(when string) {
	s.t.Helper()
	if has := s.has(); len(has) != len(s.keys) {
		s.t.Errorf("%s the store has only %v of h3", when, has)
	}
	if marks := s.cluster.marks(); len(marks) > 0 {
		s.t.Errorf("%s h3 was declared dead at %v", when, marks[0].at)
	}
	if !s.h1.peerHas(s.net.ID, "h3", "e3") || !s.h2.peerHas(s.net.ID, "h3", "e3") {
		s.t.Errorf("%s somebody has forgotten h3's container", when)
	}
}

// A host whose lease stays free is down for its peers after seconds, and keeps all
// that it has for the reap time. Then one of them, and one alone, declares it dead,
// and everything of it is free; what frees it holds only with that mark.
func TestADeadHostIsReapedAfterTheReapTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		s.h3.stop()
		dies := time.Now()
		time.Sleep(7 * time.Second)
		if !s.h1.sends("h3", s.net.ID) || !s.h2.sends("h3", s.net.ID) {
			t.Error("h3 is given up at once")
		}
		time.Sleep(3 * time.Second)
		if s.h1.sends("h3", s.net.ID) || s.h2.sends("h3", s.net.ID) {
			t.Error("h3 is still sent to")
		}
		s.whole("soon after its death")
		time.Sleep(reapTime - time.Since(dies) - time.Second)
		s.whole("a second before the reap time")
		for _, m := range []*machine{s.h1, s.h2} {
			if err := m.claim(spare); err == nil || !strings.Contains(err.Error(), "on host h3") {
				t.Errorf("%s may have h3's address: %v", m.name, err)
			}
		}

		time.Sleep(3 * time.Second)
		if has := s.has(); len(has) > 0 {
			t.Errorf("of the dead host is still there: %v", has)
		}
		if len(s.h1.HostStates()) != 1 || len(s.h2.HostStates()) != 1 || s.h1.attachedPeer(s.net.ID, "h3") || s.h2.attachedPeer(s.net.ID, "h3") {
			t.Error("somebody still knows the dead host")
		}
		s.fenced()
		s.h1.do("claim", s.h1.claim(used))
		s.h2.do("claim", s.h2.claim(spare))

		// It yields what is another's, and is there again.
		var mark struct {
			By string `json:"by"`
		}
		p, err := s.cluster.Get(t.Context(), "host/h3/dead")
		if err != nil || json.Unmarshal(p.Value, &mark) != nil || mark.By != "h1" && mark.By != "h2" {
			t.Errorf("the mark is %q, %v", p.Value, err)
		}
		s.h3.start(s.cluster)
		time.Sleep(10 * time.Second)
		for a, host := range map[netip.Addr]string{used: "h1", spare: "h2"} {
			p, err := s.cluster.Get(t.Context(), "addr/10.1.0.0_24/"+a.String())
			if err != nil || !strings.Contains(string(p.Value), `"`+host+`"`) {
				t.Errorf("%v is %q's, %v", a, p.Value, err)
			}
		}
		if len(s.h1.HostStates()) != 2 || !s.h1.HostStates()[1].Live {
			t.Errorf("h1 knows %+v", s.h1.HostStates())
		}
	})
}

// fenced fails unless h3 was declared dead once, and everything of it was taken
// out by transactions that held only with that mark.
func (s *trio) fenced() {
	s.t.Helper()
	if marks := s.cluster.marks(); len(marks) != 1 {
		s.t.Errorf("h3 was declared dead %d times", len(marks))
	}
	p, err := s.cluster.Get(s.t.Context(), "host/h3/dead")
	if err != nil {
		s.t.Fatal(err)
	}
	taken := s.cluster.of(func(op kvstore.Op) bool {
		return (op.Kind == kvstore.Delete || op.Kind == kvstore.DeleteCAS) && (slices.Contains(s.keys, op.Key) || op.Key == "host/h3/live")
	})
	if len(taken) < 2 {
		s.t.Errorf("%d transactions took out what h3 had", len(taken))
	}
	for _, c := range taken {
		if fence := c.ops[0]; fence.Kind != kvstore.Check || fence.Key != p.Key || fence.Revision != p.Revision {
			s.t.Errorf("%v was not fenced", c.ops)
		}
	}
	if _, err := s.cluster.Txn(s.t.Context(), s.h3.Claims().Fence()...); !errors.Is(err, kvstore.ErrConflict) {
		s.t.Errorf("h3 may claim: %v", err)
	}
}

// A host that is back before the reap time has lost nothing, not even for a
// moment, and has the whole time again when it dies anew.
func TestAHostThatIsBackInTimeKeepsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		before := s.has()
		for range 3 {
			s.h3.stop()
			time.Sleep(reapTime - 2*time.Second)
			s.whole("before its return")
			s.h3.start(s.cluster)
			time.Sleep(5 * time.Second)
			s.whole("after its return")
		}
		time.Sleep(3 * reapTime)
		s.whole("long after")
		for _, key := range s.keys[:2] {
			if now := s.has(); now[key] != before[key] {
				t.Errorf("%s was %d and is %d", key, before[key], now[key])
			}
		}
		if !s.h1.sends("h3", s.net.ID) || !s.h2.sends("h3", s.net.ID) {
			t.Error("it is not sent to")
		}
		s.h3.do("claim", s.h3.claim(netip.MustParseAddr("10.1.0.10")))
	})
}

// Time in which nobody could see the leases does not count: a host that could not
// take its own because the store was away is not dead. One that was down before
// stays so.
func TestAnOutageOfTheStoreIsNobodysDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		s.h3.stop()
		time.Sleep(reapTime - 30*time.Second)
		s.store.Cut()
		s.h3.start(s.cluster)
		time.Sleep(time.Minute)
		s.store.Mend()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if marks := s.cluster.marks(); len(marks) > 0 {
				t.Fatalf("h3 was declared dead, which had no chance to take its lease")
			}
		}
		s.whole("after the outage")
		if !s.h1.sends("h3", s.net.ID) {
			t.Error("h3 is not sent to")
		}

		s.h3.stop()
		time.Sleep(time.Minute)
		s.store.Cut()
		time.Sleep(time.Minute)
		s.store.Mend()
		for end := time.Now().Add(reapTime - time.Second); time.Now().Before(end); time.Sleep(time.Second) {
			if s.h1.sends("h3", s.net.ID) {
				t.Fatal("an outage has raised h3 from the dead")
			}
		}
		s.whole("before another reap time was over")
		time.Sleep(10 * time.Second)
		s.fenced()
	})
}
