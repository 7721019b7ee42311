package consul

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/weft-net/weft/kvstore"
)

// callTime is how long a call takes at most, on all servers together. A leader
// that dies is replaced within 2 to 3 s if Consul is tuned for it.
const callTime = 3 * time.Second

// call makes one request of the server in use, and if that is not available of
// the next ones. repeatable says that f may be carried out twice; if it may
// not, the next server is asked only if f was surely not carried out at all.
func (s *Store) call(ctx context.Context, request string, repeatable bool, f func(context.Context, *api.Client) error) error {
	tries := max(2, len(s.servers)) // a lone server: a connection left from before its restart fails the first
	deadline := time.Now().Add(callTime)
	for left := tries; ; left-- {
		share := time.Until(deadline)
		if len(s.servers) > 1 {
			share /= time.Duration(left)
		}
		err := s.once(ctx, request, share, f)
		if !errors.Is(err, kvstore.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		if left == 1 || !repeatable && !unsent(err) || time.Until(deadline) < 10*time.Millisecond {
			return err
		}
	}
}

// once makes one request of the server in use. If it is not available, the next
// server is in use afterwards.
func (s *Store) once(ctx context.Context, request string, limit time.Duration, f func(context.Context, *api.Client) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	at, began := s.current.Load(), time.Now()
	err := classify(ctx, f(limited, s.servers[at].client))
	if s.cfg.OnRequest != nil {
		s.cfg.OnRequest(request, time.Since(began), err)
	}
	if errors.Is(err, kvstore.ErrUnavailable) && ctx.Err() == nil && len(s.servers) > 1 {
		next := (at + 1) % int64(len(s.servers))
		if s.current.CompareAndSwap(at, next) {
			s.cfg.Log.WithField("server", s.servers[at].address).WithField("next", s.servers[next].address).
				Debugf("Consul server does not answer %s: %v", request, err)
		}
	}
	return err
}

// latest gives the options of a read that shows everything written before it.
func latest(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

// read gives the options of a read of the leader, see the package's comment.
func read(ctx context.Context) *api.QueryOptions { return (&api.QueryOptions{}).WithContext(ctx) }

// write gives the options of a write.
func write(ctx context.Context) *api.WriteOptions { return (&api.WriteOptions{}).WithContext(ctx) }

// pause returns nil after d, or ctx's error at its end.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ended(ctx)
	case <-t.C:
		return nil
	}
}
