package registry_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// A new network is refused before its user loses patience, whatever of the store
// does not answer, and is one that nobody has.
func TestANetworkIsRefusedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		cluster := kvtest.Mute(registrytest.OpenStore(t, "cluster.db"), &mute)
		h1 := newMachine(t, "h1", cluster)
		eventually(t, "h1 may claim", h1.mayClaim)
		mute.Store(true)
		for _, n := range []overlay.Network{want(subnetA), {ID: "blue", VNI: 7, Subnets: want(subnetA).Subnets}} {
			began := time.Now()
			_, err := h1.Create(t.Context(), "d1", n)
			if took := time.Since(began); took > 2800*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if !errors.Is(err, kvstore.ErrUnavailable) || !strings.Contains(err.Error(), "try again when it answers") {
				t.Errorf("it is refused with %v", err)
			}
		}
		mute.Store(false)
		time.Sleep(time.Minute)
		if len(h1.Networks()) > 0 || len(h1.Inventory().Docker) > 0 {
			t.Errorf("there are %+v, in Docker %v", h1.Networks(), h1.Inventory().Docker)
		}
		h1.create("d1", want(subnetA))
	})
}
