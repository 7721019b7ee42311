package registry_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

func TestAHalfMadeNetworkIsTakenBack(t *testing.T) {
	for name, dies := range map[string]bool{"a call that fails": false, "a process that dies": true} {
		t.Run(name, func(t *testing.T) {
			cluster := registrytest.OpenStore(t, "cluster.db")
			h1 := newMachine(t, "h1", cluster)
			eventually(t, "h1 is there", func() bool { _, err := cluster.Get(t.Context(), "host/h1/doc"); return err == nil })
			whole := h1.state
			h1.stop()
			// It cannot take the record of a Docker network: what a process leaves that
			// dies at that moment.
			h1.state = kvtest.Before(whole, func(_ context.Context, r kvtest.Request) error {
				if slices.ContainsFunc(r.Ops, func(op kvstore.Op) bool { return strings.HasPrefix(op.Key, "docker/") }) {
					return context.Canceled
				}
				return nil
			})
			h1.start(cluster)
			eventually(t, "h1 may claim", h1.mayClaim)
			if dies {
				h1.stop() // nobody settles anything
			}
			if _, err := h1.Create(t.Context(), "d1", want(subnetA)); err == nil {
				t.Fatal("the state took it")
			}
			if dies {
				h1.state = whole
				h1.start(cluster)
			}
			eventually(t, "a tombstone and no VNI", func() bool {
				nets, _, err := cluster.List(t.Context(), "net/")
				vnis, _, err2 := cluster.List(t.Context(), "vni/")
				if err != nil || err2 != nil || len(vnis) > 0 {
					return false
				}
				for _, p := range nets {
					var n overlay.Network
					if json.Unmarshal(p.Value, &n) == nil && n.ID != "" {
						return !n.Deleted.IsZero()
					}
				}
				return false
			})
			h1.stop()
			h1.state = whole
			h1.start(cluster)
			h1.create("d2", want(subnetA))
		})
	}
}

// A network that is recorded, and that Docker has not made all the same, has no name:
// it is gone with the last that is known of it.
func TestANetworkThatDockerNeverMadeIsTakenBack(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	unnamed, named := h1.create("d1", want(subnetA)), h1.create("d2", want(subnetB))
	h1.do("name", h1.Name(t.Context(), named.ID, registry.Naming{Name: "named"}))
	eventually(t, "h2 knows both", func() bool { return h2.sees(unnamed.ID) && h2.sees("named") })
	h1.do("detach", h1.Detach(t.Context(), "d1"))
	h1.do("detach", h1.Detach(t.Context(), "d2"))
	eventually(t, "the one without a name is gone", func() bool { return !h1.sees(unnamed.ID) && !h2.sees(unnamed.ID) })
	if !h1.sees("named") || !h2.sees("named") {
		t.Error("the named one is gone too")
	}
}
