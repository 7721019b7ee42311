package bolt

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// hold is one key that this process holds.
type hold struct {
	lost chan struct{} // closed if the key is deleted
}

// Hold implements kvstore.Store. ttl does not matter: who holds is known only
// in this process, so a hold ends with it.
func (s *Store) Hold(ctx context.Context, name, key string, value []byte, _ time.Duration, held func(), guards ...kvstore.Op) error {
	err := s.holdKey(ctx, name, key, value, held, guards)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("hold %s as %s: %w", key, name, err)
	}
	return nil
}

func (s *Store) holdKey(ctx context.Context, name, key string, value []byte, held func(), guards []kvstore.Op) error {
	if name == "" {
		return fmt.Errorf("lease has no name: %w", kvstore.ErrInvalid)
	}
	if err := kvstore.CheckHold(key, value, guards); err != nil {
		return err
	}
	h := &hold{lost: make(chan struct{})}
	if err := s.acquire(ctx, key, h); err != nil {
		return err
	}
	defer s.release(key, h)
	// Not by Txn: the revision must change with Held even if the value stays.
	if err := s.update(func(w *writer) error { return w.hold(key, value, guards) }); err != nil {
		return classify(err)
	}
	if held != nil {
		held()
	}
	for {
		s.mu.Lock()
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		if closed {
			return kvstore.ErrClosed
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.lost:
			return fmt.Errorf("key was deleted: %w", kvstore.ErrConflict)
		case <-changed:
		}
	}
}

// hold writes the key if all guards hold.
func (w *writer) hold(key string, value []byte, guards []kvstore.Op) error {
	for i, guard := range guards {
		_, ok, err := w.do(guard)
		if err != nil {
			return err
		}
		if !ok {
			return &kvstore.ConflictError{Op: i + 1, Key: guard.Key}
		}
	}
	return w.put(key, value)
}

// acquire waits until nobody holds key and makes h its holder.
func (s *Store) acquire(ctx context.Context, key string, h *hold) error {
	for {
		s.mu.Lock()
		changed, closed := s.changed, s.closed
		free := s.held[key] == nil && !closed && ctx.Err() == nil
		if free {
			s.held[key] = h
		}
		s.mu.Unlock()
		switch {
		case closed:
			return kvstore.ErrClosed
		case free:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// release ends h and gives the key a new revision, so that others notice. If
// the file cannot be written, they notice with the next change.
func (s *Store) release(key string, h *hold) {
	s.mu.Lock()
	mine := s.held[key] == h
	if mine {
		delete(s.held, key)
	}
	s.mu.Unlock()
	if !mine {
		return
	}
	err := s.update(func(w *writer) error {
		old := w.b.Get([]byte(key))
		if old == nil {
			return nil
		}
		p, err := decode([]byte(key), old)
		if err != nil {
			return err
		}
		return w.put(key, p.Value)
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wake() // the next holder
	}
}
