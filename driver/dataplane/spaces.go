package dataplane

import (
	"context"
	"sync"
)

// spaces tells of the networks' namespaces that come and go: a mount gives no event of
// the kernel's.
type spaces struct {
	mu    sync.Mutex
	waits map[*context.CancelFunc]bool
}

// untilChange gives a context that ends with the next namespace that comes or goes. done
// must be called.
func (s *spaces) untilChange(ctx context.Context) (within context.Context, done func()) {
	within, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil {
		s.waits = map[*context.CancelFunc]bool{}
	}
	s.waits[&cancel] = true
	return within, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waits, &cancel)
	}
}

// changed says that a namespace has come or gone.
func (s *spaces) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for cancel := range s.waits {
		(*cancel)()
	}
}
