package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// A person has to mend a record that is passed over, and then looks whether weft still
// names it. So Run reads each passed-over record again by itself. As soon as one has
// changed or is gone, Run repeats the reading that passed it over. Where nothing is passed
// over, nothing is read.
const (
	mendTime   = 2 * lookTime
	mostReread = 20 // records of one reading; others come up once one of these is mended
)

// passed is what the readings of Cluster pass over. Safe for concurrent use.
type passed struct {
	mu sync.Mutex // taken after table.mu
	of map[string]map[string]uint64
}

// saw replaces what is known of one reading: the revision of each key.
func (p *passed) saw(scope string, now map[string]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(now) == 0 {
		delete(p.of, scope)
		return
	}
	if p.of == nil {
		p.of = map[string]map[string]uint64{}
	}
	p.of[scope] = now
}

func (p *passed) all() map[string]map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.of)
}

// passOver notes what a reading of Cluster passes over, and says it once.
func (a *table) passOver(scope string, pairs []kvstore.Pair, records ...skipped.Record) {
	bad := make(map[string]bool, len(records))
	for _, r := range records {
		bad[r.Key] = kvstore.CheckKey(r.Key) == nil // else no store reads it by itself
	}
	revisions := map[string]uint64{}
	for _, pair := range pairs {
		if bad[pair.Key] && len(revisions) < mostReread {
			revisions[pair.Key] = pair.Revision
		}
	}
	a.passed.saw(scope, revisions)
	if news := a.cfg.Skipped.Saw(scope, records...); len(news) > 0 {
		a.cfg.Log.WithField("first", news[0].Text()).
			Warnf("Records of the store cannot be used and are passed over, everything else goes on: %s; `weft doctor` says what to do.", skipped.Names(news))
	}
}

// rereadPassed makes those readings due that passed over a record that has changed. A
// store that does not answer is asked again next time.
func (a *Allocator) rereadPassed(ctx context.Context) {
	now := a.cfg.Now()
	if now.Sub(a.reread) < mendTime {
		return
	}
	a.reread = now
	for scope, revisions := range a.passed.all() {
		changed, err := a.changedSince(ctx, revisions)
		if err != nil {
			return
		}
		switch {
		case !changed:
		case scope == record.AddrPrefix:
			a.scanned = time.Time{}
		case scope == record.PoolPrefix:
			if _, err := a.listPools(ctx); err != nil {
				return
			}
		default:
			a.mu.Lock()
			for subnet, p := range a.pools {
				if record.AddrsPrefix(subnet) == scope {
					p.checked = time.Time{}
				}
			}
			a.mu.Unlock()
		}
	}
}

// changedSince says whether a record has another revision than it had. It fails if the
// store does not answer.
func (a *Allocator) changedSince(ctx context.Context, revisions map[string]uint64) (bool, error) {
	for key, revision := range revisions {
		pair, err := a.cfg.Cluster.Get(ctx, key)
		switch {
		case errors.Is(err, kvstore.ErrUnavailable), ctx.Err() != nil:
			return false, fmt.Errorf("read what was passed over: %w", err)
		case errors.Is(err, kvstore.ErrNotFound), err == nil && pair.Revision != revision:
			return true, nil
		}
	}
	return false, nil
}
