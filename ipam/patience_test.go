package ipam

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// What needs a Cluster that does not answer is refused in words before its user
// loses patience: with the 0.4 s that `docker run` takes for itself, within 3 s.
func TestRefusalsComeInTime(t *testing.T) {
	prefix := netip.MustParsePrefix
	for what, ask := range map[string]func(*host, space.PoolID) error{
		"a pool":          func(h *host, _ space.PoolID) error { _, err := h.pool("10.2.0.0/24", ""); return err },
		"any pool":        func(h *host, _ space.PoolID) error { _, err := h.pool("", ""); return err },
		"a group's pool":  func(h *host, _ space.PoolID) error { _, err := h.pool("10.2.0.0/24", "", "weft.id=g"); return err },
		"an address":      func(h *host, id space.PoolID) error { _, err := h.any(id); return err },
		"a named address": func(h *host, id space.PoolID) error { return h.named(id, "10.1.0.200") },
		"an unknown pool's": func(h *host, _ space.PoolID) error {
			_, err := h.any(space.PoolID{Subnet: prefix("10.3.0.0/24")})
			return err
		},
		"a gateway": func(h *host, _ space.PoolID) error {
			_, err := h.RequestAddress(context.Background(), AddressRequest{Pool: space.PoolID{Subnet: prefix("10.4.0.0/24")}, Gateway: true})
			return err
		},
		"an address of a busy pool": func(h *host, id space.PoolID) error {
			_, leave, err := h.enter(context.Background(), id.Subnet)
			if err != nil {
				return err
			}
			time.AfterFunc(20*time.Second, leave)
			return h.named(id, "10.1.0.200")
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mute atomic.Bool
				h := newHost(t, "h1", kvtest.Mute(newMemory(), &mute))
				id := h.network("n", "10.1.0.0/24", "10.1.0.0/25") // .200 is nobody's
				h.mustPool("10.4.0.0/24", "")
				h.work()
				for range h.stock(id) {
					h.mustAny(id)
				}
				mute.Store(true)
				began := time.Now()
				err := ask(h, id)
				if took := time.Since(began); took > 2600*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if !errors.Is(err, kvstore.ErrUnavailable) || !strings.Contains(err.Error(), "within 2.5s, try again when it answers") {
					t.Errorf("it is refused with: %v", err)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
