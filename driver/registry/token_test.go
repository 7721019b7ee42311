package registry_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
	"github.com/weft-net/weft/test/policy"
)

// withToken is the store as a host sees it whose token has these rules. They are applied
// as Consul does: who looks whether a key is absent needs the right to write it.
func withToken(store kvstore.Store, rules string, denied *atomic.Int64) kvstore.Store {
	return kvtest.Before(store, func(_ context.Context, r kvtest.Request) error {
		ops := r.Ops
		if r.Method == kvtest.Hold {
			ops = append([]kvstore.Op{{Kind: kvstore.Set, Key: r.Key}}, ops...)
		}
		for _, op := range ops {
			if (op.Kind != kvstore.Check || op.Revision == 0) && !policy.Writes(rules, op.Key) {
				denied.Add(1)
				return fmt.Errorf("write %s: %w", op.Key, kvstore.ErrDenied)
			}
		}
		return nil
	})
}

// tokens gives each host a token of its own, and h2 the right to reap beside.
func (s *trio) tokens() (denied map[string]*atomic.Int64) {
	s.t.Helper()
	denied = map[string]*atomic.Int64{}
	for _, m := range []*machine{s.h1, s.h2, s.h3} {
		denied[m.name] = new(atomic.Int64)
		m.restart(s.as(m.name, denied[m.name]))
	}
	time.Sleep(5 * time.Second)
	return denied
}

func (s *trio) as(host string, denied *atomic.Int64) kvstore.Store {
	rules := policy.Host(s.t, host)
	if host == "h2" {
		rules += policy.Reaper(s.t)
	}
	return withToken(s.cluster, rules, denied)
}

// A host whose token is for its own records leaves a dead one to those that may free
// what that had: it does not go on asking the store, and says where to forget a host.
func TestWhoMayNotReapLeavesItToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		denied := s.tokens()
		s.h2.stop()
		s.h3.stop()
		time.Sleep(15 * time.Second)
		err := s.h1.Forget(t.Context(), "h3")
		if err == nil || !strings.Contains(err.Error(), "run `weft host forget h3` on a host whose token may") {
			t.Errorf("h1 forgets h3 with %v", err)
		}
		time.Sleep(2 * reapTime)
		if has := s.has(); len(has) != len(s.keys) {
			t.Errorf("of h3 there is only %v", has)
		}
		if n := denied["h1"].Load(); n < 2 || n > 5 {
			t.Errorf("h1 was denied %d times", n)
		}
		s.h2.start(s.as("h2", denied["h2"]))
		time.Sleep(reapTime + 15*time.Second)
		s.fenced()
		s.h1.do("claim", s.h1.claim(used))

		s.h3.start(s.as("h3", denied["h3"]))
		time.Sleep(10 * time.Second)
		if !s.h1.hostLive("h3") {
			t.Error("h3 is not back")
		}
		if n := denied["h2"].Load() + denied["h3"].Load(); n > 0 {
			t.Errorf("the others were denied %d times", n)
		}
	})
}

// A host's own token is enough to keep another one from being reaped.
func TestAVetoWithATokenOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTrio(t)
		s.without()
		denied := new(atomic.Int64)
		s.h1.restart(s.as("h1", denied))
		s.h2.restart(s.as("h2", denied))
		var number uint64
		s.beats(&number, 2*reapTime, s.h1)
		s.whole("heard by h1 alone")
		if n := denied.Load(); n > 0 {
			t.Errorf("%d writes were denied", n)
		}
	})
}
