package probe_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/probe"
)

// asked counts the requests to probe that a host with one peer and no kernel has
// made, and those that are answered.
type asked struct{ begun, ended atomic.Uint64 }

func (a *asked) prober() *probe.Prober {
	log, _ := test.NewNullLogger()
	return probe.New(probe.Config{
		Snapshot: func() overlay.Snapshot { return overlay.Snapshot{Self: overlay.Host{Name: "h1"}} },
		Members:  func() []probe.Member { return []probe.Member{{Host: overlay.Host{Name: "h2"}, Live: true}} },
		Probe:    func() uint64 { return a.begun.Add(1) },
		Probed:   func(uint64) { a.ended.Add(1) },
		Log:      log,
	})
}

// The first who asks may go away before there is an answer, and who asked with
// him has it all the same.
func TestTheFirstWhoAsksGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asked
		p := a.prober()
		first, leave := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		began := time.Now()
		for _, ctx := range []context.Context{first, t.Context()} {
			go func() {
				_, err := p.Ask(ctx)
				errs <- err
			}()
			synctest.Wait()
		}
		leave()
		if err := <-errs; !errors.Is(err, context.Canceled) || time.Since(began) > 0 {
			t.Errorf("who went away was told %v after %s", err, time.Since(began))
		}
		if err := <-errs; err == nil || errors.Is(err, context.Canceled) || a.begun.Load() != 1 || a.ended.Load() != 1 {
			t.Errorf("who stayed was told %v, after %d requests, %d ended", err, a.begun.Load(), a.ended.Load())
		}
	})
}

// What nobody waits for any more is not asked on, and who comes then asks anew.
func TestNobodyWaitsForTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asked
		p := a.prober()
		for n := range uint64(2) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := p.Ask(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || a.begun.Load() != n+1 || a.ended.Load() != n+1 {
				t.Errorf("told %v, after %d requests, %d ended", err, a.begun.Load(), a.ended.Load())
			}
		}
	})
}
