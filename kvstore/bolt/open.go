package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrCorrupt is Open's error for a file that is no usable database. Set the
// file aside and open a new one.
var ErrCorrupt = errors.New("file is damaged or no database")

const (
	// lockWait is how long Open waits for another process to let go of the
	// file: long enough for one that is just being replaced.
	lockWait = 500 * time.Millisecond
	// mapped is the size that the file begins with, sparse: growing costs a
	// sync, so the first growth should be far off.
	mapped = 4 << 20
)

// bucket holds all pairs; its sequence is the last revision given out.
var bucket = []byte("pairs")

// Open opens the file, or makes it (mode 0600) if it does not exist; its
// directory must. It fails within a second if another process has the file
// open, and with ErrCorrupt if the file cannot be used.
func Open(path string) (*Store, error) {
	_, err := os.Stat(path)
	created := errors.Is(err, os.ErrNotExist)
	db, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &Store{db: db, path: path, changed: make(chan struct{}), held: map[string]*hold{}}
	if err := s.load(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if created {
		if err := syncDir(filepath.Dir(path)); err != nil {
			_ = db.Close()
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
	}
	return s, nil
}

// open is bbolt's Open with its panics as errors: it maps the file and trusts
// it, so a damaged one makes it read beyond the end.
func open(path string) (db *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var file *os.File
	defer asCorrupt(&err, func() {
		if file != nil {
			_ = file.Close() // unlocks
		}
	})
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         lockWait,
		InitialMmapSize: mapped,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, errors.New("another process has the file open: stop it, or give this one a file of its own")
	case errors.As(err, new(*os.PathError)):
		return nil, err
	default:
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
}

// load reads every page that holds data, so that damage shows now and not in
// the middle of the work, and makes the bucket in a new file.
func (s *Store) load() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer asCorrupt(&err, func() {})
	err = s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		s.seen = b.Sequence()
		return b.ForEach(func(k, v []byte) error {
			p, err := decode(k, v)
			if err == nil && p.Revision > s.seen {
				err = fmt.Errorf("%w: %q has revision %d, the file only %d", ErrCorrupt, k, p.Revision, s.seen)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	s.floor = s.seen
	if s.seen > 0 {
		return nil
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		s.seen, s.floor = 1, 1 // revision 0 means none
		return b.SetSequence(1)
	})
}

// asCorrupt makes an ErrCorrupt of a panic, also of a read beyond the end of
// the file, in the function that defers it. undo is then called.
func asCorrupt(err *error, undo func()) {
	if r := recover(); r != nil {
		undo()
		*err = fmt.Errorf("%w: %v", ErrCorrupt, r)
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
