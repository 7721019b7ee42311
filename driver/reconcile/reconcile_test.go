package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/reconcile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kernel remembers its passes and does what the test says.
type kernel struct {
	mu       sync.Mutex
	verified []bool
	observed []reconcile.Pass
	took     time.Duration
	outcome  reconcile.Outcome
	err      error
	version  func() uint64 // of the records
}

func (k *kernel) Set(_ context.Context, _ overlay.Config, verify bool) (reconcile.Outcome, error) {
	k.mu.Lock()
	k.verified = append(k.verified, verify)
	took, outcome, err := k.took, k.outcome, k.err
	k.mu.Unlock()
	time.Sleep(took)
	return outcome, err
}

func (k *kernel) passes() []bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]bool(nil), k.verified...)
}

func (k *kernel) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// run starts a Reconciler in a bubble of its own time.
func run(t *testing.T, k *kernel) (*reconcile.Reconciler, chan struct{}, *test.Hook) {
	t.Helper()
	log, hook := test.NewNullLogger()
	changes := make(chan struct{}, 1)
	r := reconcile.New(reconcile.Config{
		Kernel: k, Snapshot: func() overlay.Snapshot { return overlay.Snapshot{} },
		Changes: func() (<-chan struct{}, func()) { return changes, func() {} },
		Version: k.version, Verify: 5 * time.Second, Log: log,
		Observe: func(p reconcile.Pass) { k.set(func() { k.observed = append(k.observed, p) }) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return r, changes, hook
}

func TestPassesAreAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{}
		r, changes, _ := run(t, k)
		if got := k.passes(); len(got) != 1 || !got[0] {
			t.Fatalf("the first pass must read everything back: %v", got)
		}
		changes <- struct{}{}
		synctest.Wait()
		r.Ask()
		synctest.Wait()
		r.Verify()
		synctest.Wait()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := k.passes(); len(got) != 5 || got[1] || got[2] || !got[3] || !got[4] {
			t.Errorf("passes by change, request, verify and clock: %v", got)
		}
	})
}

// A request that comes during a pass waits for the next one, and requests that
// come together share it.
func TestSyncWaitsForAPassOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{took: time.Second}
		r, _, _ := run(t, k)
		time.Sleep(500 * time.Millisecond) // in the middle of the first pass
		began := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := r.Sync(t.Context(), "n"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 1500*time.Millisecond {
			t.Errorf("waited %s, want the rest of one pass and the whole of another", took)
		}
		if got := len(k.passes()); got > 3 {
			t.Errorf("%d passes for requests that came together", got)
		}
	})
}

// A record that wakes the passes is set up by the pass that it has woken: whoever has
// written it does not wait for another one, unless that one fails.
func TestSyncIsContentWithThePassThatItsRecordHasWoken(t *testing.T) {
	for name, c := range map[string]struct {
		asks   time.Duration // how long after the record
		fails  bool          // the pass that the record has woken
		waits  time.Duration
		passes int // with the first one
	}{
		"while it goes on":    {0, false, time.Second, 2},
		"in the middle":       {600 * time.Millisecond, false, 400 * time.Millisecond, 2},
		"after it":            {1500 * time.Millisecond, false, 0, 2},
		"while it is failing": {0, true, 2 * time.Second, 3},
		"after it failed":     {1500 * time.Millisecond, true, time.Second, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var version atomic.Uint64
				k := &kernel{took: time.Second, version: version.Load}
				r, changes, _ := run(t, k)
				time.Sleep(2 * time.Second)
				if c.fails {
					k.set(func() { k.outcome.Failed = map[string]error{"n": errors.New("no such device")} })
				}
				version.Add(1)
				changes <- struct{}{}
				synctest.Wait()
				k.set(func() { k.outcome.Failed = nil })
				time.Sleep(c.asks)
				began := time.Now()
				if err := r.Sync(t.Context(), "n"); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != c.waits {
					t.Errorf("waited %s, want %s", took, c.waits)
				}
				if got := len(k.passes()); got != c.passes {
					t.Errorf("%d passes, want %d", got, c.passes)
				}
			})
		})
	}
}

// A change and a request that come during a pass share the next one.
func TestAChangeAndARequestShareAPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{took: time.Second}
		r, changes, _ := run(t, k)
		time.Sleep(500 * time.Millisecond) // in the middle of the first pass
		changes <- struct{}{}
		if err := r.Sync(t.Context(), "n"); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if got := len(k.passes()); got != 2 {
			t.Errorf("%d passes, want the first one and one for both", got)
		}
	})
}

// A record that is written during a pass is not set up by that one.
func TestSyncWaitsForAPassThatBeganAfterItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var version atomic.Uint64
		k := &kernel{took: time.Second, version: version.Load}
		r, _, _ := run(t, k)
		time.Sleep(500 * time.Millisecond) // in the middle of the first pass
		version.Add(1)
		began := time.Now()
		if err := r.Sync(t.Context(), "n"); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 1500*time.Millisecond {
			t.Errorf("waited %s, want the rest of one pass and the whole of another", took)
		}
	})
}

func TestSyncTellsWhatConcernsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{}
		r, _, hook := run(t, k)
		k.set(func() { k.outcome.Failed = map[string]error{"a": errors.New("no such device")} })
		if err := r.Sync(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "no such device") {
			t.Errorf("a: %v", err)
		}
		if err := r.Sync(t.Context(), "b"); err != nil {
			t.Errorf("b failed with a: %v", err)
		}
		synctest.Wait()
		logged := len(hook.AllEntries())
		time.Sleep(20 * time.Second)
		if got := len(hook.AllEntries()); logged != 1 || got != 1 {
			t.Errorf("a lasting failure was logged %d, then %d times", logged, got)
		}
		k.set(func() { k.outcome, k.err = reconcile.Outcome{}, errors.New("all is lost") })
		if err := r.Sync(t.Context(), "b"); err == nil {
			t.Error("b was told nothing of a failure as a whole")
		}
	})
}

func TestSyncGivesUpWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{took: time.Hour}
		r, _, _ := run(t, k)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Sync(ctx, "n"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPassesAndRepairsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kernel{outcome: reconcile.Outcome{Repaired: []string{"x", "y"}}, took: time.Millisecond}
		r, changes, _ := run(t, k)
		time.Sleep(time.Second)
		k.set(func() { k.outcome, k.err = reconcile.Outcome{}, errors.New("no memory") })
		changes <- struct{}{}
		time.Sleep(3 * time.Second)
		k.set(func() { k.outcome, k.err = reconcile.Outcome{Repaired: []string{"z"}}, nil })
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if got := r.Status(); got.Passes != 3 || got.Repairs != 3 {
			t.Errorf("status is %+v", got)
		}
		want := []reconcile.Pass{
			{Verify: true, Took: time.Millisecond, Repairs: 2},
			{Took: time.Millisecond, Failed: true},
			{Verify: true, Took: time.Millisecond, Repairs: 1},
		}
		k.set(func() {
			if diff := cmp.Diff(want, k.observed); diff != "" {
				t.Error(diff)
			}
		})
	})
}
