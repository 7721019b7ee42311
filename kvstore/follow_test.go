package kvstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// answer is what a script's read gives, after the time it takes.
type answer struct {
	after    time.Duration
	revision uint64
	err      error
}

// script is a Store whose reads give the answers in turn, then block. It
// records each read as "List" or "Wait REVISION" with the time since start.
type script struct {
	kvstore.Store
	answers []answer
	start   time.Time
	reads   []string
	at      []time.Duration
}

func (s *script) next(ctx context.Context, what string) ([]kvstore.Pair, uint64, error) {
	s.reads = append(s.reads, what)
	s.at = append(s.at, time.Since(s.start))
	if len(s.answers) == 0 {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-time.After(a.after):
	}
	if a.err != nil {
		return nil, 0, a.err
	}
	return []kvstore.Pair{{Key: "k", Revision: a.revision}}, a.revision, nil
}

func (s *script) List(ctx context.Context, _ string) ([]kvstore.Pair, uint64, error) {
	return s.next(ctx, "List")
}

func (s *script) Wait(ctx context.Context, _ string, revision uint64) ([]kvstore.Pair, uint64, error) {
	return s.next(ctx, fmt.Sprintf("Wait %d", revision))
}

// unfit is a revision that cannot be applied.
const unfit = 666

var errUnfit = errors.New("unfit")

// follow runs Follow over answers for the given time and returns the script,
// the revisions applied and the errors reported.
func follow(t *testing.T, d, gap time.Duration, answers ...answer) (*script, []uint64, []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	s := &script{answers: answers, start: time.Now()}
	var applied []uint64
	var failed []error
	err := kvstore.Follow(ctx, s, "p/", gap,
		func(err error) { failed = append(failed, err) },
		func(p []kvstore.Pair) error {
			applied = append(applied, p[0].Revision)
			if p[0].Revision == unfit {
				return errUnfit
			}
			return nil
		})
	if err != nil {
		t.Fatalf("Follow at the end of its context = %v, want nil", err)
	}
	return s, applied, failed
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func TestFollowAppliesWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, applied, failed := follow(t, time.Hour, 0,
			answer{revision: 5},
			answer{revision: 7, after: time.Minute},
			answer{revision: 7, after: time.Minute}, // the longest wait is over
			answer{revision: 3, after: time.Second}) // the store went back
		equal(t, "reads", s.reads, []string{"List", "Wait 5", "Wait 7", "Wait 7", "Wait 3"})
		equal(t, "applied", applied, []uint64{5, 7, 3})
		equal(t, "failed", failed, nil)
	})
}

func TestFollowListsAgainWhatCouldNotBeApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, applied, failed := follow(t, time.Hour, 0,
			answer{revision: 5},
			answer{revision: unfit, after: time.Minute},
			answer{revision: 8})
		equal(t, "reads", s.reads, []string{"List", "Wait 5", "List", "Wait 8"})
		equal(t, "applied", applied, []uint64{5, unfit, 8})
		equal(t, "failed", failed, []error{errUnfit})
	})
}

func TestFollowListsAgainAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		s, applied, failed := follow(t, time.Hour, 0,
			answer{err: away}, answer{revision: 5}, answer{err: away}, answer{err: away}, answer{revision: 5})
		equal(t, "reads", s.reads, []string{"List", "List", "Wait 5", "List", "List", "Wait 5"})
		equal(t, "applied", applied, []uint64{5, 5})
		equal(t, "failed", failed, []error{away, away, away})
	})
}

func TestFollowWaitsLongerAfterEachError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		answers := slices.Repeat([]answer{{err: away}}, 30)
		answers = append(answers, answer{revision: 1}, answer{err: away}, answer{revision: 2})
		s, _, _ := follow(t, time.Hour, 0, answers...)
		wait := func(i int) time.Duration { return s.at[i+1] - s.at[i] }
		for i := range 30 {
			if w := wait(i); w > 5*time.Second || w < 25*time.Millisecond {
				t.Errorf("wait after error %d = %v, want 25ms to 5s", i, w)
			}
		}
		if w := wait(0); w > 75*time.Millisecond {
			t.Errorf("first wait = %v, want about 50ms", w)
		}
		if w := wait(29); w < time.Second {
			t.Errorf("30th wait = %v, want seconds", w)
		}
		// 30: List gives 1; 31: Wait fails; 32: List.
		if w := wait(31); w > 75*time.Millisecond {
			t.Errorf("first wait after a success = %v, want about 50ms", w)
		}
	})
}

func TestFollowKeepsTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gap = 2 * time.Second
		var answers []answer
		for i := range 100 {
			answers = append(answers, answer{revision: uint64(i + 1)})
		}
		s, applied, _ := follow(t, time.Hour, gap, answers...)
		if len(applied) != 100 {
			t.Fatalf("applied %d snapshots, want 100", len(applied))
		}
		different := false
		for i := range 100 {
			w := s.at[i+1] - s.at[i]
			if w < gap*3/4 || w > gap*5/4 {
				t.Errorf("gap %d = %v, want %v give or take a quarter", i, w, gap)
			}
			different = different || w != s.at[1]-s.at[0]
		}
		if !different {
			t.Error("all gaps are the same, want jitter")
		}
	})
}

func TestFollowEndsWhereverItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		follow(t, 3*time.Second, time.Hour, answer{revision: 1}) // in the gap
		follow(t, 3*time.Second, 0, answer{revision: 1})         // in Wait
		follow(t, 20*time.Millisecond, 0, answer{err: errors.New("away")})
		if d := time.Since(start); d != 6*time.Second+20*time.Millisecond {
			t.Errorf("took %v", d)
		}
	})
}

func TestFollowEndsWithItsStore(t *testing.T) {
	closed := fmt.Errorf("list: %w", kvstore.ErrClosed)
	err := kvstore.Follow(t.Context(), &script{answers: []answer{{err: closed}}}, "p/", 0, nil, nil)
	if !errors.Is(err, kvstore.ErrClosed) {
		t.Errorf("Follow of a closed store = %v, want ErrClosed", err)
	}
}

func TestFollowRefusesAnImpossiblePrefix(t *testing.T) {
	err := kvstore.Follow(t.Context(), &script{}, "a//b", 0, nil, nil)
	if !errors.Is(err, kvstore.ErrInvalid) {
		t.Errorf("Follow = %v, want ErrInvalid", err)
	}
}
