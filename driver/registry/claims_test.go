package registry_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
)

// Who waits until this host may claim is told when it may, and not of every change of
// this host's own.
func TestClaimsTellWhenTheyAreAdmitted(t *testing.T) {
	log, _ := test.NewNullLogger()
	r, err := registry.Open(t.Context(), registry.Config{
		Self:    overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789},
		Cluster: registrytest.OpenStore(t, "cluster.db"), State: registrytest.OpenStore(t, "h1.db"), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.SetAddresses(registrytest.NoAddresses{})
	all, stopAll := r.Changes()
	defer stopAll()
	changes, stop := r.Claims().Changes()
	defer stop()
	r.AddressesChanged()
	if len(all) == 0 || len(changes) > 0 {
		t.Errorf("of other addresses Changes tells %d times, and the permits' Changes %d times", len(all), len(changes))
	}
	if _, _, err := r.Claims().Admit(); !errors.Is(err, registry.ErrFrozen) {
		t.Errorf("before the store has answered it may claim: %v", err)
	}

	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if err := r.Rebuilt(t.Context()); err != nil {
		t.Fatal(err)
	}
	for late := time.After(10 * time.Second); err == nil || errors.Is(err, registry.ErrFrozen); {
		select {
		case <-changes:
		case <-late:
			t.Fatal("it is not told that it may claim")
		}
		if _, _, err = r.Claims().Admit(); err == nil {
			return
		}
	}
	t.Error(err)
}
