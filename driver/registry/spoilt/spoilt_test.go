package spoilt_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/driver/registry/spoilt"
	"github.com/weft-net/weft/kvstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever is spoilt in a store: hosts that join know all that is whole, and go on.
func TestHostsGoOnWithASpoiltStore(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test that can be repeated
			c := spoilt.New(rnd)
			c.Spoil(rnd, int(2*seed)) //nolint:gosec // a few
			store := &registrytest.Shown{Store: registrytest.OpenStore(t, "cluster.db")}
			fill(t, store, c)
			c.Check(t, store)
		})
	}
}

// fill writes the cluster's records, those that no store of weft's takes beside it.
func fill(t *testing.T, store *registrytest.Shown, c *spoilt.Cluster) {
	t.Helper()
	for key, value := range c.Pairs {
		op := kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(value)}
		if kvstore.CheckOps([]kvstore.Op{op}) != nil {
			store.Show(key, value)
		} else if _, err := store.Txn(context.Background(), op); err != nil {
			t.Fatal(err)
		}
	}
}
