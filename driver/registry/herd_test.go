package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// Fifty hosts that wait for the store do not fall on it when it is back: their
// requests are spread, though all have lost it in the same moment, and each has
// published within 2 s what happened meanwhile. The clock is that of a synctest
// bubble, so all that is measured is how long they wait.
func TestTheReturnOfTheStoreIsNoStampede(t *testing.T) {
	const (
		hosts = 50
		away  = 30 * time.Second // longer than any wait between two tries
		slice = 100 * time.Millisecond
	)
	synctest.Test(t, func(t *testing.T) {
		store := registrytest.OpenStore(t, "cluster.db")
		cable := kvtest.NewCable(store)
		var mu sync.Mutex
		var asked []time.Time // when each request came
		cluster := kvtest.Before(cable, func(context.Context, kvtest.Request) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, time.Now())
			return nil
		})
		var all []*machine
		for i := range hosts {
			all = append(all, newMachine(t, fmt.Sprintf("h%d", i), cluster))
		}
		time.Sleep(20 * time.Second)
		for _, m := range all {
			if !m.mayClaim() || len(m.HostStates()) != hosts-1 {
				t.Fatalf("%s knows %d other hosts", m.name, len(m.HostStates()))
			}
		}
		cable.Cut()
		for _, m := range all {
			m.SetUnderlay(m.Self().VTEP, 1400)
		}
		time.Sleep(away)
		cable.Mend()
		back := time.Now()
		for _, m := range all {
			for time.Since(back) < 5*time.Second && !m.published(store, `"mtu":1400`) {
				time.Sleep(10 * time.Millisecond)
			}
		}
		if took := time.Since(back); took > 2*time.Second {
			t.Errorf("it took %v until all was published", took)
		}
		time.Sleep(10 * time.Second)
		mu.Lock()
		requests := slices.DeleteFunc(slices.Clone(asked), func(at time.Time) bool { return at.Before(back) })
		mu.Unlock()
		counts := make([]int, 10*time.Second/slice)
		for _, at := range requests {
			counts[min(int(at.Sub(back)/slice), len(counts)-1)]++
		}
		t.Logf("requests in each %v: %v", slice, counts)
		for i, n := range counts {
			if n > len(requests)/3 {
				t.Errorf("%d of %d requests came within %v, %v after the return", n, len(requests), slice, time.Duration(i)*slice)
			}
		}
		for _, m := range all {
			if err := m.Contact().Err; err != nil || !m.mayClaim() {
				t.Errorf("%s has not come back to the store: %v", m.name, err)
			}
		}
	})
}

// published says whether the store has the host's record with the text in it.
func (m *machine) published(s kvstore.Store, text string) bool {
	doc, err := s.Get(m.t.Context(), "host/"+m.name+"/doc")
	return err == nil && strings.Contains(string(doc.Value), text)
}
