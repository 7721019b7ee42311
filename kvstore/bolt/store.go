package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/weft-net/weft/kvstore"
)

const (
	// longestWait is when Wait returns although nothing has changed.
	longestWait = time.Minute
	// remembered is how many changes Wait can look back on; one that asks for
	// an older revision returns at once.
	remembered = 4096
)

// Store implements kvstore.Store. Make one with Open.
type Store struct {
	db   *bbolt.DB
	path string

	write sync.Mutex // makes changes get into log in the order of their commits; taken before mu

	mu      sync.Mutex // guards all following fields
	closed  bool
	seen    uint64           // revision of the last change in log
	floor   uint64           // log has all changes after this revision
	log     []change         // by revision
	changed chan struct{}    // closed and replaced with each change, closed for good by Close
	held    map[string]*hold // by key; set before and deleted before the commit that tells of it
}

// change is one key that was written or removed.
type change struct {
	revision uint64
	key      string
}

var _ kvstore.Store = (*Store)(nil)

// Get implements kvstore.Store.
func (s *Store) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	var p kvstore.Pair
	err := errors.Join(kvstore.CheckKey(key), ctx.Err())
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) error {
			v := tx.Bucket(bucket).Get([]byte(key))
			if v == nil {
				return kvstore.ErrNotFound
			}
			var err error
			p, err = decode([]byte(key), v)
			return err
		})
	}
	if err != nil {
		return kvstore.Pair{}, fmt.Errorf("get %s: %w", key, classify(err))
	}
	s.mark(&p)
	return p, nil
}

// List implements kvstore.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	pairs, revision, err := s.list(ctx, prefix)
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", prefix, err)
	}
	return pairs, revision, nil
}

func (s *Store) list(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	if err := errors.Join(kvstore.CheckPrefix(prefix), ctx.Err()); err != nil {
		return nil, 0, err
	}
	var pairs []kvstore.Pair
	var revision uint64
	err := s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		revision = b.Sequence()
		c := b.Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			p, err := decode(k, v)
			if err != nil {
				return err
			}
			pairs = append(pairs, p)
		}
		return nil
	})
	if err != nil {
		return nil, 0, classify(err)
	}
	// After the read: who holds a key may be newer than the revision, and is
	// then told again, but never older.
	for i := range pairs {
		s.mark(&pairs[i])
	}
	return pairs, revision, nil
}

// mark fills in Held.
func (s *Store) mark(p *kvstore.Pair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Held = s.held[p.Key] != nil
}

// Wait implements kvstore.Store.
func (s *Store) Wait(ctx context.Context, prefix string, revision uint64) ([]kvstore.Pair, uint64, error) {
	pairs, next, err := s.wait(ctx, prefix, revision)
	if err != nil {
		return nil, 0, fmt.Errorf("wait for %s: %w", prefix, err)
	}
	return pairs, next, nil
}

func (s *Store) wait(ctx context.Context, prefix string, revision uint64) ([]kvstore.Pair, uint64, error) {
	if err := kvstore.CheckPrefix(prefix); err != nil {
		return nil, 0, err
	}
	timer := time.NewTimer(longestWait)
	defer timer.Stop()
	for revision != 0 {
		s.mu.Lock()
		changed, hit := s.changed, s.hit(prefix, revision)
		revision = s.seen
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return nil, 0, kvstore.ErrClosed
		}
		if hit {
			break
		}
		select {
		case <-changed:
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		break
	}
	return s.list(ctx, prefix)
}

// hit says whether something under prefix has changed after revision, or may
// have. s.mu is held.
func (s *Store) hit(prefix string, revision uint64) bool {
	if revision < s.floor || revision > s.seen {
		return true
	}
	for i := len(s.log) - 1; i >= 0 && s.log[i].revision > revision; i-- {
		if strings.HasPrefix(s.log[i].key, prefix) {
			return true
		}
	}
	return false
}

// Close implements kvstore.Store. It ends all calls.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.changed)
	s.mu.Unlock()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// classify makes an error one of kvstore's.
func classify(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return kvstore.ErrClosed
	case errors.Is(err, kvstore.ErrNotFound), errors.Is(err, kvstore.ErrConflict), errors.Is(err, kvstore.ErrInvalid),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("%w: %w", kvstore.ErrUnavailable, err)
}

// A value in the file is the revision in 8 bytes, big endian, then the value.
const header = 8

func encode(revision uint64, value []byte) []byte {
	out := make([]byte, header, header+len(value))
	binary.BigEndian.PutUint64(out, revision)
	return append(out, value...)
}

// decode copies: the file's bytes are good only within a transaction.
func decode(k, v []byte) (kvstore.Pair, error) {
	if len(v) < header {
		return kvstore.Pair{}, fmt.Errorf("%w: value of %q has %d bytes", ErrCorrupt, k, len(v))
	}
	return kvstore.Pair{
		Key:      string(k),
		Value:    bytes.Clone(v[header:]),
		Revision: binary.BigEndian.Uint64(v),
	}, nil
}
