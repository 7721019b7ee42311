package registry

import "sync"

// broadcast wakes every subscriber at least once after each send.
type broadcast struct {
	mu    sync.Mutex
	subs  map[chan struct{}]bool
	sends uint64
}

func (b *broadcast) subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = map[chan struct{}]bool{}
	}
	b.subs[ch] = true
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, ch)
	}
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sends++
	for ch := range b.subs {
		select {
		case ch <- struct{}{}:
		default: // a wake-up is already waiting
		}
	}
}

// count is how many sends there were.
func (b *broadcast) count() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sends
}
