package kvstore_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/kvstore"
)

func TestBatches(t *testing.T) {
	ops := func(n, bytes int) []kvstore.Op {
		out := make([]kvstore.Op, n)
		for i := range out {
			key := fmt.Sprintf("%04d", i)
			out[i] = kvstore.Op{Kind: kvstore.Set, Key: key, Value: make([]byte, bytes-len(key))}
		}
		return out
	}
	for name, tc := range map[string]struct {
		ops  []kvstore.Op
		want []int // lengths
	}{
		"nothing":                  {},
		"one":                      {ops(1, 10), []int{1}},
		"as many as may be":        {ops(kvstore.MaxOps, 10), []int{kvstore.MaxOps}},
		"one more":                 {ops(kvstore.MaxOps+1, 10), []int{kvstore.MaxOps, 1}},
		"as large as may be":       {ops(3, kvstore.MaxBytes/3), []int{3}},
		"larger":                   {ops(5, kvstore.MaxBytes/2), []int{2, 2, 1}},
		"each too large by itself": {ops(2, kvstore.MaxBytes+1), []int{1, 1}},
	} {
		var got []int
		var all []kvstore.Op
		for batch := range kvstore.Batches(tc.ops) {
			got, all = append(got, len(batch)), append(all, batch...)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || !slices.EqualFunc(all, tc.ops, func(a, b kvstore.Op) bool { return a.Key == b.Key }) {
			t.Errorf("%s: batches (-want +got):\n%s", name, diff)
		}
		for range kvstore.Batches(tc.ops) {
			break
		}
	}
}
