package registry

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
)

// # Who hears a host keeps it from being reaped
//
// A host whose lease is free may be alive and cut off from the store alone. A host
// that hears it directly says so: it holds host/.heard/X under its own lease, as long
// as it hears X. One does so for all, and the others wait until the key is free. X is
// reaped by a host only after that has seen, for the reap time without a break, that
// nobody held the key; and X's mark of death holds only if the key is still what it
// was then. So a veto that comes between the reaper's look and its write undoes the
// write. A veto that comes after the mark is of no use: the host that asked for it sees
// the mark, hears X no more, and lets go. It does not look for the mark in the same
// transaction: to look whether a key is absent, Consul asks for the right to write it, and
// a host's token may not give that right on what is X's.
//
// A veto ends with its holder: when the holder does not hear X any more, and with the
// lease of a holder that dies or is cut off from the store. From then on the reap time
// runs anew, which is time enough for whoever else hears X. A holder that is cut off
// does not count: what X's peers hear beyond a cut cannot be known on this side of it.
// It finds X marked when it is back, and does not believe X until X has its lease.

// A host asks for the veto once it has heard another one without a lease for vetoAfter,
// which a restart does not take, and up to vetoSpread more, so that not all ask at
// once. Both together are far less than the shortest reap time.
const (
	vetoAfter  = 2 * time.Second
	vetoSpread = 2 * time.Second
)

// vetoes are the vetoes that this host holds or asks for.
type vetoes struct {
	*core
	peers  *peers.Peers
	place  *place
	claims *Claims

	due   map[string]time.Time // by host: when to ask
	asked map[string]*asked
	wait  sync.WaitGroup
}

// asked is a veto that this host asks for, and then holds.
type asked struct {
	cancel func()
	held   atomic.Bool
	ended  atomic.Bool
}

// run holds vetoes as long as they are true, until ctx ends.
func (v *vetoes) run(ctx context.Context) error {
	v.due, v.asked = map[string]time.Time{}, map[string]*asked{}
	defer v.wait.Wait()
	return every(ctx, tick, func() { v.update(ctx, time.Now()) })
}

// update asks for the vetoes that are missing and lets go of those that are not true.
func (v *vetoes) update(ctx context.Context, now time.Time) {
	v.mu.RLock()
	missing := v.peers.HeardWithoutLease()
	v.mu.RUnlock()
	for host, a := range v.asked {
		others, wanted := missing[host]
		switch {
		case a.ended.Load():
			delete(v.asked, host)
		case !wanted || others && !a.held.Load():
			a.cancel()
		}
	}
	for host := range v.due {
		if others, wanted := missing[host]; !wanted || others {
			delete(v.due, host)
		}
	}
	for host, others := range missing {
		if others || v.asked[host] != nil {
			continue
		}
		switch due, known := v.due[host]; {
		case !known:
			v.due[host] = now.Add(vetoAfter + rand.N(vetoSpread))
		case !now.Before(due):
			delete(v.due, host)
			v.ask(ctx, host)
		}
	}
}

// ask holds the veto in the background. It must not count if this host was declared
// dead, which the store looks at in the same moment.
func (v *vetoes) ask(ctx context.Context, host string) {
	v.mu.RLock()
	self, run := v.self.Name, v.place.id.Run
	v.mu.RUnlock()
	value, err := json.Marshal(record.HeardMark{By: self, Run: run})
	if err != nil {
		v.log.WithError(err).Warn("A host that is heard cannot be kept from being reaped.")
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &asked{cancel: cancel}
	v.asked[host] = a
	log := v.log.WithField("host", host)
	v.wait.Go(func() {
		defer a.ended.Store(true)
		defer cancel()
		err := v.cluster.Hold(ctx, self, record.HeardKey(host), value, leaseTTL, func() {
			a.held.Store(true)
			log.Info("A host has lost its lease and is heard: nobody frees what it has as long as this host hears it.")
		}, v.claims.Fence()...)
		if err != nil && !errors.Is(err, context.Canceled) {
			log.WithError(err).Debug("A host that is heard is not kept from being reaped; this is tried again.")
		}
	})
}
