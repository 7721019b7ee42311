package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// With a change of one network's record only that one is decoded and compared in its
// parts, however many tombstones there are; and the change is seen.
func TestTombstonesCostNothing(t *testing.T) {
	var pairs []kvstore.Pair
	for i := range 1000 {
		id := fmt.Sprintf("%012x", i+1)
		pairs = append(pairs, kvstore.Pair{Key: record.NetPrefix + id, Revision: 1, Value: []byte(`{"id":"` + id + `","name":"old","vni":70000,"host":"h1","subnets":[{"prefix":"10.1.0.0/24"}],"created":"2026-01-01T00:00:00Z","deleted":"2026-01-02T00:00:00Z"}`)})
	}
	r := assemble(Config{Log: logrus.New()}, Identity{})
	round := 0
	change := func() {
		round++
		pairs[0].Value = []byte(strings.Replace(string(pairs[1].Value), "000000000002", "000000000001", 1))
		pairs[0].Value = []byte(strings.Replace(string(pairs[0].Value), `"old"`, fmt.Sprintf(`"new%d"`, round), 1))
		if err := r.follower().applyNetworks(t.Context(), pairs); err != nil {
			t.Fatal(err)
		}
		if got, _ := r.networks.Record("000000000001"); got.Name != fmt.Sprint("new", round) {
			t.Fatalf("the changed record is read as %q", got.Name)
		}
	}
	change()
	if n := testing.AllocsPerRun(10, change); n > 10_000 { // to decode one takes about 50
		t.Errorf("with 1000 tombstones a change takes %.0f allocations", n)
	}
}
