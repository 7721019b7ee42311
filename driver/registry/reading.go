package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// # How other hosts' documents are read
//
// The records and leases of the hosts count as soon as the watch shows them. The documents
// that the records name are read beside that, and each counts when it is here: a request
// that fails, of thousands, costs only what it was for, which is asked for again. Of a
// host most of whose documents are missing all are listed, by one request.

// Limits of reading.
const (
	readsAtOnce = 16 // hosts whose documents are read at the same time
	fewReads    = 3  // documents that are read one by one in any case
)

// reader reads other hosts' documents.
type reader struct {
	*core
	epochs  *epochs
	peers   *peers.Peers
	rebuild *rebuild
	due     chan struct{} // the hosts' records were taken over
}

// run reads what is wanted until ctx ends.
func (r reader) run(ctx context.Context) error {
	retry := newBackoff()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.due:
		}
		for {
			read, err := r.round(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil || read > 0 { // as long as it gets on it is in no hurry and does not give up
				retry.Reset()
			}
			if err == nil {
				break
			}
			r.tell(err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retry.NextBackOff()):
			}
		}
	}
}

func (r reader) tell(err error) {
	// The publisher says so when the store is away; what remains is a fault.
	if errors.Is(err, kvstore.ErrUnavailable) || errors.Is(err, kvstore.ErrDenied) {
		r.log.WithError(err).Debug("Documents of other hosts could not be read; they are asked for again.")
		return
	}
	r.log.WithError(err).Warn("Documents of other hosts could not be taken over; this is tried again.")
}

// round reads what is wanted now. It says how many requests were answered, and fails if
// one was not. It ends early if the store answers none.
func (r reader) round(ctx context.Context) (read int64, err error) {
	r.mu.RLock()
	wanted := r.peers.Reading().Wanted()
	r.mu.RUnlock()
	var answered, failed atomic.Int64
	var mu sync.Mutex // guards the next two
	var bad []skipped.Record
	var first error
	var all sync.WaitGroup
	slots := make(chan struct{}, readsAtOnce)
	for _, w := range wanted {
		slots <- struct{}{}
		if ctx.Err() != nil || answered.Load() == 0 && failed.Load() >= readsAtOnce {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			n, passed, err := r.readOf(ctx, w)
			answered.Add(n)
			mu.Lock()
			defer mu.Unlock()
			bad = append(bad, passed...)
			if err != nil {
				failed.Add(1)
				first = cmp.Or(first, err)
			}
		})
	}
	all.Wait()
	if first != nil || ctx.Err() != nil {
		return answered.Load(), first
	}
	slices.SortFunc(bad, func(a, b skipped.Record) int { return strings.Compare(a.Key, b.Key) })
	r.passOver(record.AttachPrefix, bad...)
	r.finished()
	return answered.Load(), nil
}

// finished notes that all that is wanted was looked at.
func (r reader) finished() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.rebuild.hosts {
		r.rebuild.hosts = true
		wakeUp(r.epochs.wake)
		if r.rebuild.lost {
			r.any.send()
		}
	}
	r.epochs.settleLocked(time.Now())
}

// readOf reads what is wanted of one host, and takes over what comes. It says how many
// requests were answered and what cannot be used.
func (r reader) readOf(ctx context.Context, w peers.Want) (answered int64, bad []skipped.Record, err error) {
	if len(w.Networks) > fewReads && 2*len(w.Networks) > w.All {
		pairs, _, err := r.cluster.List(ctx, record.AttachmentKey(w.Host, ""))
		if err != nil {
			return 0, nil, fmt.Errorf("read what host %s has: %w", w.Host, err)
		}
		bad, err = r.takeOver(w, pairs)
		answered = 1
		if err != nil {
			return answered, bad, err
		}
	} else {
		var pairs []kvstore.Pair
		var failed error
		for _, network := range w.Networks {
			p, err := r.cluster.Get(ctx, record.AttachmentKey(w.Host, network))
			switch {
			case err == nil:
				pairs = append(pairs, p)
			case !errors.Is(err, kvstore.ErrNotFound): // else it was taken back since; its host's record will say so
				failed = cmp.Or(failed, fmt.Errorf("read what host %s has in network %s: %w", w.Host, network, err))
				continue
			}
			answered++
		}
		bad, err = r.takeOver(w, pairs)
		if err = cmp.Or(err, failed); err != nil {
			return answered, bad, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peers.Reading().Looked(w)
	return answered, bad, nil
}

// takeOver takes the documents that are wanted. What cannot be used is passed over: what
// was known before stays.
func (r reader) takeOver(w peers.Want, pairs []kvstore.Pair) (bad []skipped.Record, err error) {
	var docs []peers.Document
	for _, p := range pairs {
		network := strings.TrimPrefix(p.Key, record.AttachmentKey(w.Host, ""))
		if _, wanted := slices.BinarySearch(w.Networks, network); !wanted {
			continue
		}
		at, err := record.DecodeAttachment(w.Host, network, p.Value)
		if passed, is := skipped.Of(p.Key, err); is {
			passed.Cure = cmp.Or(passed.Cure, record.OwnersCure)
			bad = append(bad, passed)
			continue
		}
		docs = append(docs, peers.Document{Attachment: at, Digest: record.Digest(p.Value)})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	done, err := r.peers.Reading().Read(docs...)
	if err != nil {
		return bad, err
	}
	for _, at := range done.News {
		r.epochs.noteClashLocked(at)
	}
	r.keepLocked(done.Ops...)
	if len(done.News) > 0 {
		r.any.send()
	}
	return bad, nil
}
