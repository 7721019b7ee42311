package chaos

import (
	"slices"
	"sync"
	"time"
)

// troubles remembers when what did not work, by the suite's own doing:
// "h1/weft", "h1/dockerd" and "h1/store" (h1 does not reach the store).
type troubles struct {
	mu   sync.Mutex
	list []*trouble
}

type trouble struct {
	what     string
	from, to time.Time // to is zero while it lasts
}

// begin notes the beginning of troubles; the end is noted by calling over.
func (t *troubles) begin(what ...string) (over func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var begun []*trouble
	for _, w := range what {
		begun = append(begun, &trouble{what: w, from: time.Now()})
	}
	t.list = append(t.list, begun...)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, b := range begun {
			b.to = time.Now()
		}
	}
}

// within says whether what was troubled at any moment of the interval, or
// within grace before it.
func (t *troubles) within(what string, from, to time.Time, grace time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.list, func(x *trouble) bool {
		return x.what == what && x.from.Before(to) && (x.to.IsZero() || x.to.Add(grace).After(from))
	})
}
