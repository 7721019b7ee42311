package push

import (
	"context"
	"testing"
)

// Who takes the failed fetches from all of them gets no number below none.
func TestNoMoreFetchesFailThanThereAre(t *testing.T) {
	var p Push
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			p.stats.fetches.Add(1)
			p.stats.fetchesFailed.Add(1)
		}
	}()
	for range 100_000 {
		if s := p.Stats(); s.FetchesFailed > s.Fetches {
			t.Errorf("%d of %d failed", s.FetchesFailed, s.Fetches)
			break
		}
	}
	cancel()
	<-ended
}
