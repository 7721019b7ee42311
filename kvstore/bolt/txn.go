package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/weft-net/weft/kvstore"
)

// errUnchanged rolls back a transaction that has nothing to write, which saves
// the sync.
var errUnchanged = errors.New("nothing changed")

// Txn implements kvstore.Store. One transaction is one commit of the file,
// whatever the number of ops; one that changes nothing writes nothing.
func (s *Store) Txn(ctx context.Context, ops ...kvstore.Op) ([]kvstore.Pair, error) {
	err := errors.Join(kvstore.CheckOps(ops), ctx.Err())
	var out []kvstore.Pair
	if err == nil {
		err = s.update(func(w *writer) error {
			for i, op := range ops {
				p, ok, err := w.do(op)
				if err != nil {
					return err
				}
				if !ok {
					return &kvstore.ConflictError{Op: i, Key: op.Key}
				}
				if op.Kind == kvstore.Set || op.Kind == kvstore.CAS {
					out = append(out, p)
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("write: %w", classify(err))
	}
	for i := range out {
		s.mark(&out[i])
	}
	return out, nil
}

// writer changes pairs within one transaction of the file.
type writer struct {
	b        *bbolt.Bucket
	revision uint64 // of all its changes
	changed  []string
	deleted  []string
}

// do carries out one operation; ok is false if its condition does not hold.
func (w *writer) do(op kvstore.Op) (p kvstore.Pair, ok bool, err error) {
	old := w.b.Get([]byte(op.Key))
	revision := uint64(0)
	if old != nil {
		revision = binary.BigEndian.Uint64(old)
	}
	switch op.Kind {
	case kvstore.Check, kvstore.CAS:
		ok = revision == op.Revision
	case kvstore.DeleteCAS:
		ok = revision == op.Revision || old == nil
	default:
		ok = true
	}
	if !ok {
		return kvstore.Pair{}, false, nil
	}
	switch op.Kind {
	case kvstore.Check:
	case kvstore.Delete, kvstore.DeleteCAS:
		if old != nil {
			err = w.remove(op.Key)
		}
	case kvstore.Set, kvstore.CAS:
		if old == nil || !bytes.Equal(old[header:], op.Value) {
			revision, err = w.revision, w.put(op.Key, op.Value)
		}
	}
	return kvstore.Pair{Key: op.Key, Revision: revision}, true, err
}

func (w *writer) put(key string, value []byte) error {
	w.changed = append(w.changed, key)
	return w.b.Put([]byte(key), encode(w.revision, value))
}

func (w *writer) remove(key string) error {
	w.changed = append(w.changed, key)
	w.deleted = append(w.deleted, key)
	return w.b.Delete([]byte(key))
}

// update runs f in one transaction of the file and tells of its changes.
func (s *Store) update(f func(*writer) error) error {
	s.write.Lock()
	defer s.write.Unlock()
	var w writer
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		w = writer{b: b, revision: b.Sequence() + 1}
		if err := f(&w); err != nil {
			return err
		}
		if len(w.changed) == 0 {
			return errUnchanged
		}
		return b.SetSequence(w.revision)
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if err != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range w.deleted {
		if h := s.held[key]; h != nil {
			close(h.lost)
			delete(s.held, key)
		}
	}
	for _, key := range w.changed {
		s.log = append(s.log, change{w.revision, key})
	}
	if n := len(s.log); n > remembered {
		s.floor = s.log[n-remembered/2-1].revision
		s.log = append(s.log[:0], s.log[n-remembered/2:]...)
	}
	s.seen = w.revision
	s.wake()
	return nil
}

// wake lets every Wait and Hold look again. s.mu is held.
func (s *Store) wake() {
	if !s.closed {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}
