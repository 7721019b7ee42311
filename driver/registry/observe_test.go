package registry_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore/kvtest"
)

func TestTheWatchIsTimed(t *testing.T) {
	open := make(chan struct{}) // until it is closed, the watch shows nothing new
	cluster := kvtest.Before(registrytest.OpenStore(t, "cluster.db"), func(ctx context.Context, r kvtest.Request) error {
		if r.Method != kvtest.Wait {
			return nil
		}
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	var mu sync.Mutex
	var lags []time.Duration
	applied := map[string]int{}
	log, _ := test.NewNullLogger()
	r, err := registry.Open(t.Context(), registry.Config{
		Self:    overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789, MTU: 1500},
		Cluster: cluster, State: registrytest.OpenStore(t, "state.db"), Log: log,
		Observe: registry.Observer{
			Applied: func(watch string, _ time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					applied[watch]++
				}
			},
			Returned: func(lag time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				lags = append(lags, lag)
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.SetAddresses(registrytest.NoAddresses{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "contact", func() bool { return r.Contact().Err == nil })
	eventually(t, "both watches begin", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return applied["hosts"] > 0 && applied["networks"] > 0
	})
	r.SetUnderlay(netip.MustParseAddr("192.0.2.2"), 1400)
	eventually(t, "a write that the watch does not show", func() bool { return r.Behind() > 20*time.Millisecond })
	close(open)
	eventually(t, "the watch to catch up", func() bool { return r.Behind() == 0 })
	mu.Lock()
	defer mu.Unlock()
	if len(lags) == 0 || slices.Max(lags) < 20*time.Millisecond {
		t.Errorf("lags are %v", lags)
	}
}
