package registry_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// heardKey is h3's.
const heardKey = "host/.heard/h3"

// without cuts h3 off from the store, and from nothing else. All have ears.
func (s *trio) without() {
	s.t.Helper()
	cable := kvtest.NewCable(s.cluster)
	for _, m := range []*machine{s.h1, s.h2} {
		m.push = netip.AddrPortFrom(netip.MustParseAddr(m.vtep), 7947)
		m.restart(s.cluster)
	}
	s.h3.push = netip.AddrPortFrom(netip.MustParseAddr(s.h3.vtep), 7947)
	s.h3.restart(cable)
	time.Sleep(5 * time.Second)
	cable.Cut()
}

// beats has the hosts hear h3 each second for so long.
func (s *trio) beats(number *uint64, d time.Duration, hearers ...*machine) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		*number++
		for _, m := range hearers {
			m.Direct().Heard(peers.Beat{Host: "h3", Incarnation: s.h3.Self().Incarnation, Number: s.h3.Direct().Runs()<<32 + *number})
		}
	}
}

// A host that is cut off from the store alone keeps what it has as long as one other
// host hears it, although another does not. When nobody hears it any more, the reap
// time begins.
func TestAHostThatOneHearsIsNotReaped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		s.without()
		var number uint64
		s.beats(&number, 20*time.Second, s.h1)
		if err := s.h2.Forget(t.Context(), "h3"); err == nil || !strings.Contains(err.Error(), "hears it directly (h1)") {
			t.Errorf("h2 may forget a host that h1 hears: %v", err)
		}
		s.beats(&number, 2*reapTime, s.h1)
		s.whole("heard by h1 alone")
		if !s.h1.sends("h3", s.net.ID) {
			t.Error("h1 does not send to a host that it hears")
		}
		if err := s.h1.claim(used); err == nil {
			t.Error("h1 was given the address of h3's container")
		}

		time.Sleep(reapTime - 5*time.Second)
		s.whole("before the reap time is over since it was heard last")
		time.Sleep(20 * time.Second)
		s.fenced()
		if p, err := s.cluster.Get(t.Context(), heardKey); !errors.Is(err, kvstore.ErrNotFound) {
			t.Errorf("the veto is left behind: %+v, %v", p, err)
		}
	})
}

// A veto goes with who holds it, and whoever else hears the host has the whole reap
// time to take it.
func TestAVetoGoesWithItsHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		s.without()
		var number uint64
		held := func() bool { p, err := s.cluster.Get(t.Context(), heardKey); return err == nil && p.Held }
		for range 3 {
			s.beats(&number, 20*time.Second, s.h1)
			if !held() {
				t.Fatal("h1 has no veto")
			}
			s.h1.stop()
			if held() {
				t.Error("a host that is not there vetoes")
			}
			time.Sleep(reapTime - time.Minute)
			s.h1.start(s.cluster)
			time.Sleep(5 * time.Second)
		}
		s.whole("after its hearer was away three times")

		// Another one takes it over.
		s.beats(&number, 20*time.Second, s.h1, s.h2)
		s.h1.stop()
		s.beats(&number, 20*time.Second, s.h2)
		if !held() {
			t.Error("h2 has not taken the veto over")
		}
		s.h1.start(s.cluster)
		s.beats(&number, 2*reapTime, s.h2)
		s.whole("heard by the other one")
	})
}

// A veto that comes after a host has looked for one, and before it declares the other
// host dead, is not overlooked.
func TestAVetoBetweenLookAndMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		s.without()
		s.h2.restart(kvtest.Before(s.cluster, func(_ context.Context, r kvtest.Request) error {
			if r.Method == kvtest.Txn && r.Ops[0].Key == "host/h3/dead" {
				_, err := s.cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: heardKey, Value: []byte(`{"by":"h9"}`)})
				s.h1.do("veto", err)
			}
			return nil
		}))
		time.Sleep(20 * time.Second)
		if err := s.h2.Forget(t.Context(), "h3"); err == nil || !strings.Contains(err.Error(), "another host hears it") {
			t.Errorf("h3 was forgotten: %v", err)
		}
		s.whole("after the veto")
	})
}

// What is heard of a host that was declared dead before is no veto, and is not believed.
func TestAVetoAfterTheMarkIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		s.without()
		paused, reached, resume := pausing(s.cluster, "at/h3/")
		s.h2.restart(paused)
		time.Sleep(20 * time.Second)
		failed := make(chan error, 1)
		go func() { failed <- s.h2.Forget(context.Background(), "h3") }()
		<-reached // h3 is marked, and has all yet
		var number uint64
		s.beats(&number, 20*time.Second, s.h1)
		if p, err := s.cluster.Get(t.Context(), heardKey); !errors.Is(err, kvstore.ErrNotFound) {
			t.Errorf("h1 vetoes too late: %+v, %v", p, err)
		}
		if s.h1.sends("h3", s.net.ID) {
			t.Error("h1 believes a host that was declared dead")
		}
		close(resume)
		s.h2.do("forget", <-failed)
		s.fenced()
	})
}
