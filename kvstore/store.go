package kvstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits of one transaction.
const (
	// MaxOps is the most operations. Consul before 1.13 takes 64, newer ones 128.
	MaxOps = 60
	// MaxBytes is the most bytes of all keys and values together. Consul takes
	// a request body of 512 KiB (txn_max_req_len), in which values are base64.
	MaxBytes = 360 << 10
)

// Errors that a Store's methods return, wrapped. Every error of a Store is one
// of these, ErrConflict's detail type, or a context's. Hold's "lease lost" is an
// ErrConflict.
var (
	ErrNotFound    = errors.New("no such key")
	ErrConflict    = errors.New("changed by somebody else")
	ErrUnavailable = errors.New("store unavailable") // retry later: no leader, no route, rate limit
	ErrDenied      = errors.New("store refused the credentials")
	ErrInvalid     = errors.New("not a valid request") // a mistake of the caller's, see CheckOps
	ErrClosed      = errors.New("store is closed")
)

// ConflictError says which operation of a transaction did not hold. It is an
// ErrConflict.
type ConflictError struct {
	Op  int    // index into Txn's ops
	Key string // of that operation
}

// Error implements error.
func (e *ConflictError) Error() string { return fmt.Sprintf("%s: %v", e.Key, ErrConflict) }

// Is makes errors.Is(err, ErrConflict) hold.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Pair is one key with its value.
type Pair struct {
	Key      string // see CheckKey
	Value    []byte
	Revision uint64 // changes with every change of Value or Held; 0 means absent
	Held     bool   // somebody holds the key under a live lease, see Store.Hold
}

// OpKind is what one operation of a transaction does.
type OpKind int

// The operations. A failed condition fails the whole transaction with a
// ConflictError.
const (
	Set       OpKind = iota + 1 // writes, whatever is there; keeps a Hold
	CAS                         // writes if the key's revision is Revision; 0: if it is absent
	Delete                      // removes; an absent key is fine
	DeleteCAS                   // removes if the key's revision is Revision, which is not 0; an absent key is fine
	Check                       // condition only: the key's revision is Revision; 0: it is absent
)

// Op is one operation of a transaction.
type Op struct {
	Kind     OpKind
	Key      string
	Value    []byte
	Revision uint64
}

// Store keeps pairs under a prefix of its own. Safe for concurrent use.
//
// The prefix in List and Wait is any beginning of a key, also "" or one that
// ends within a word.
//
// Every call returns by itself within a few seconds (Wait and Hold excepted)
// however the store is doing, and each is safe to repeat.
type Store interface {
	// Get reads one key, or fails with ErrNotFound. Like List it shows everything
	// that was carried out before it was called, by whomever.
	Get(ctx context.Context, key string) (Pair, error)

	// List reads all keys that begin with prefix, sorted by key, as one
	// consistent snapshot, with the revision to hand to Wait. No match is an
	// empty list, not an error.
	List(ctx context.Context, prefix string) ([]Pair, uint64, error)

	// Wait is List once something under prefix has changed after revision, or
	// once the store's longest wait (about a minute) is over; then, and now and
	// then in between, what it returns is unchanged. Revision 0 does not wait.
	// After an error, start again from List or revision 0. A revision may be
	// smaller than the one before (a store that lost its data): the pairs are
	// right all the same. What it returns may be of the past for a moment, as of a
	// store that is just starting, but the next Wait returns what is new.
	Wait(ctx context.Context, prefix string, revision uint64) ([]Pair, uint64, error)

	// Txn carries out all ops, or none. It returns one pair for each Set and
	// CAS, in order, with the new revision and without the value. Writing the
	// value that is there already changes nothing, not even the revision. More
	// than CheckOps allows is ErrInvalid. ErrUnavailable and a context's error
	// leave open whether the transaction happened: read before doing it again.
	Txn(ctx context.Context, ops ...Op) ([]Pair, error)

	// Hold writes key and keeps it held under a lease named name until ctx
	// ends (then it lets go and returns nil) or the lease is lost, because it
	// ran out or the key was deleted (an ErrConflict within about ttl; call
	// again). While somebody else holds the key, it waits, and has not written.
	// While the store cannot be reached, it goes on trying: the lease may have
	// ended meanwhile. A holder that dies lets go within about 2 x ttl, where
	// an implementation may lengthen ttl to the least it knows (Consul 10 s).
	// The first time that this Store holds the key it does not wait for a lease
	// with the same value, but ends it: an earlier process has left that, so
	// value, if not empty, is one that no other living process uses.
	// held, if not nil, is called once the key is held. Pair.Held shows it to
	// others. guards are Checks, all of which hold in the moment in which the
	// key becomes held; else it fails with the ConflictError of a transaction
	// that begins with the key and goes on with the guards.
	Hold(ctx context.Context, name, key string, value []byte, ttl time.Duration, held func(), guards ...Op) error

	// Close frees what the Store has open. Calls after it fail.
	Close() error
}
