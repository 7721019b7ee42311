package consul

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/weft-net/weft/kvstore"
)

const (
	// nodePrefix begins the names of the catalog nodes and sessions of leases.
	nodePrefix = "weft-"
	// leastTTL is the shortest that a server allows unless its session_ttl_min
	// says otherwise. A session ends 2 x TTL after its last renewal.
	leastTTL = 10 * time.Second
	// lockDelay is how long a key cannot be locked after its session was lost;
	// 0 would be Consul's default of 15 s.
	lockDelay = time.Millisecond
	// renewals of a lease happen so often in its TTL; one of them also looks
	// whether the key is still held.
	renewals = 3
	// retryRenewal is when a renewal that failed is tried again.
	retryRenewal = time.Second
)

// Hold implements kvstore.Store. The lease is a session on the catalog node
// weft-NAME, which stays in the catalog afterwards: other keys may be held
// under the same name.
func (s *Store) Hold(ctx context.Context, name, key string, value []byte, ttl time.Duration, held func(), guards ...kvstore.Op) error {
	err := s.holdKey(ctx, name, key, value, max(ttl, leastTTL), held, guards...)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("hold %s as %s: %w", key, name, err)
	}
	return nil
}

func (s *Store) holdKey(ctx context.Context, name, key string, value []byte, ttl time.Duration, held func(), guards ...kvstore.Op) error {
	if name == "" || s.cfg.NodeAddress == "" {
		return fmt.Errorf("lease needs a name and the address of this host: %w", kvstore.ErrInvalid)
	}
	if err := kvstore.CheckHold(key, value, guards); err != nil {
		return err
	}
	return s.during(ctx, false, func(ctx context.Context) error {
		for {
			if err := s.waitFree(ctx, key, value); err != nil {
				return err
			}
			err := s.holdOnce(ctx, name, key, value, ttl, held, guards...)
			if !errors.Is(err, errRace) {
				return err
			}
			if err := pause(ctx, waitGap); err != nil {
				return err
			}
		}
	})
}

// hasHeld says whether this Store has held the key.
func (s *Store) hasHeld(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[key]
}

// errRace says that somebody else got the lock first.
var errRace = errors.New("key was locked by somebody else")

// holdOnce makes a session, locks key with it and keeps both until ctx ends or
// the lease is lost.
func (s *Store) holdOnce(ctx context.Context, name, key string, value []byte, ttl time.Duration, held func(), guards ...kvstore.Op) error {
	session, err := s.session(ctx, name, ttl)
	if err != nil {
		return err
	}
	// The end of the session is the end of the lock.
	defer func() { s.destroy(context.WithoutCancel(ctx), session) }()
	if err := s.lock(ctx, session, key, value, guards); err != nil {
		return err
	}
	s.mu.Lock()
	s.held[key] = true
	s.mu.Unlock()
	if held != nil {
		held()
	}
	return s.keep(ctx, session, key, ttl/renewals)
}

// session registers the catalog node and makes a session on it that depends on
// nothing but its renewal.
func (s *Store) session(ctx context.Context, name string, ttl time.Duration) (id string, err error) {
	node := nodePrefix + name
	err = s.call(ctx, "register", true, func(ctx context.Context, c *api.Client) error {
		_, err := c.Catalog().Register(&api.CatalogRegistration{Node: node, Address: s.cfg.NodeAddress}, write(ctx))
		return err
	})
	if err != nil {
		return "", err
	}
	entry := &api.SessionEntry{
		Name: node, Node: node, TTL: ttl.String(), Behavior: api.SessionBehaviorRelease, LockDelay: lockDelay,
	}
	// Made twice, the first one ends by itself and has never held anything.
	err = s.call(ctx, "lease", true, func(ctx context.Context, c *api.Client) error {
		id, _, err = c.Session().CreateNoChecks(entry, write(ctx))
		return err
	})
	return id, err
}

func (s *Store) lock(ctx context.Context, session, key string, value []byte, guards []kvstore.Op) error {
	ops := api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVLock, Key: s.key(key), Value: value, Session: session}}}
	for _, guard := range guards {
		ops = append(ops, &api.TxnOp{KV: s.op(guard)})
	}
	_, err := s.transact(ctx, true, ops)
	var conflict *kvstore.ConflictError
	if errors.As(err, &conflict) && conflict.Op == 0 {
		return errRace
	}
	return err
}

// keep renews the session every interval. While Consul is away it goes on: a
// session outlives that, since a new leader starts its time again.
func (s *Store) keep(ctx context.Context, session, key string, interval time.Duration) error {
	wait, away := interval, false
	for n := 1; ; n++ {
		if pause(ctx, wait) != nil {
			return ended(ctx)
		}
		err := s.renew(ctx, session)
		if err == nil && (away || n%renewals == 0) {
			err = s.stillHeld(ctx, session, key)
		}
		switch {
		case ctx.Err() != nil:
			return ended(ctx)
		case err == nil:
			if away {
				s.cfg.Log.WithField("key", key).Info("lease is renewed again")
			}
			wait, away = interval, false
		case errors.Is(err, kvstore.ErrUnavailable):
			if !away {
				s.cfg.Log.WithField("key", key).Warnf("lease cannot be renewed, will try on: %v", err)
			}
			retry := min(interval, retryRenewal)
			wait, away = retry*3/4+rand.N(retry/2), true
		default:
			return err
		}
	}
}

func (s *Store) renew(ctx context.Context, session string) error {
	err := s.call(ctx, "renew", true, func(ctx context.Context, c *api.Client) error {
		entry, _, err := c.Session().Renew(session, write(ctx))
		if err == nil && entry == nil { // 404 is no error of the api's
			return fmt.Errorf("lease has ended: %w", kvstore.ErrConflict)
		}
		return err
	})
	if errors.Is(err, kvstore.ErrConflict) {
		// Consul may have lost all its data; Waits with its former indexes
		// would not notice.
		s.calls.interrupt(fmt.Errorf("%w: lease was lost", kvstore.ErrUnavailable))
	}
	return err
}

// stillHeld says with an ErrConflict that the key is gone or another's. A
// session lives on without its lock.
func (s *Store) stillHeld(ctx context.Context, session, key string) error {
	_, holder, err := s.get(ctx, key)
	if errors.Is(err, kvstore.ErrNotFound) || err == nil && holder != session {
		return fmt.Errorf("key was deleted or let go: %w", kvstore.ErrConflict)
	}
	return err
}

// destroy ends a session, and with it its lock.
func (s *Store) destroy(ctx context.Context, session string) {
	err := s.call(ctx, "destroy", true, func(ctx context.Context, c *api.Client) error {
		_, err := c.Session().Destroy(session, write(ctx))
		return err
	})
	if err != nil {
		s.cfg.Log.Warnf("lease ends only by itself, Consul did not destroy it: %v", err)
	}
}
