package arrival

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// kernel is one whose links come up when the test says so.
type kernel map[string]chan error

func (k kernel) await(ctx context.Context, network, endpoint string) error {
	select {
	case err := <-k[network+"/"+endpoint]:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start runs Arrivals, and counts what is told.
func start(t *testing.T, k kernel) (a *Arrivals, told *int) {
	a, told = New(), new(int)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.Run(ctx, k.await, func() { *told++ }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a, told
}

func TestAnEndpointComesUntilItsLinkIsUp(t *testing.T) {
	for name, said := range map[string]error{"up": nil, "the kernel cannot tell": errors.New("no netlink")} {
		synctest.Test(t, func(t *testing.T) {
			k := kernel{"net/a": make(chan error), "net/b": make(chan error)}
			a, told := start(t, k)
			a.Expect("net", "a")
			a.Expect("net", "b")
			time.Sleep(most / 2)
			if !a.Coming("a") || !a.Coming("b") || a.Coming("c") || *told != 0 {
				t.Errorf("%s: while the links are down: a %t, b %t, told %d", name, a.Coming("a"), a.Coming("b"), *told)
			}
			k["net/a"] <- said
			synctest.Wait()
			if a.Coming("a") || !a.Coming("b") || *told != 1 {
				t.Errorf("%s: a is still coming (%t), b is not (%t), or it is told %d times", name, a.Coming("a"), a.Coming("b"), *told)
			}
		})
	}
}

func TestALinkThatNeverComesUpIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, told := start(t, kernel{})
		a.Expect("net", "a")
		time.Sleep(most + time.Millisecond)
		synctest.Wait()
		if a.Coming("a") || *told != 1 || len(a.list) != 0 {
			t.Errorf("coming %t, told %d times, %d are left", a.Coming("a"), *told, len(a.list))
		}
	})
}

// Without the task nobody is coming for longer either.
func TestNobodyIsComingForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New()
		a.Expect("net", "a")
		if !a.Coming("a") {
			t.Error("an endpoint has arrived before its link is up")
		}
		time.Sleep(most)
		if a.Coming("a") {
			t.Error("an endpoint is coming although nobody waits for it")
		}
		var none *Arrivals
		none.Expect("net", "a")
		none.Forget("a")
		if none.Coming("a") {
			t.Error("an endpoint of nobody's is coming")
		}
	})
}

func TestAnEndpointThatGoesIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := kernel{"net/a": make(chan error)}
		a, told := start(t, k)
		a.Expect("net", "a")
		synctest.Wait()
		a.Forget("a")
		synctest.Wait()
		select {
		case k["net/a"] <- nil:
			t.Error("the kernel is still asked")
		default:
		}
		if a.Coming("a") || *told != 0 {
			t.Errorf("coming %t, told %d times", a.Coming("a"), *told)
		}
		a.Expect("net", "a") // it comes again
		synctest.Wait()
		k["net/a"] <- nil
		synctest.Wait()
		if a.Coming("a") || *told != 1 {
			t.Errorf("the second time: coming %t, told %d times", a.Coming("a"), *told)
		}
	})
}
