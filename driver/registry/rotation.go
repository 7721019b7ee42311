package registry

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// # How this host takes part in the change of the cluster's keys
//
// What is decided is in driver/keys. This host sees in the others' records that there
// is another key, reads it, and says in its own record that it has. Any host that sees
// that another key is due, or that one has become useless, writes that into meta, by
// compare-and-set and after a random time, so that mostly one does. A host that was
// declared dead, or leaves, writes nothing there: it would know the new key.

// rotation is what this process has seen of the keys.
type rotation struct {
	since   map[string]time.Time    // by id of a key in meta: since when a newer one is known
	former  map[string]time.Time    // keys that are gone from meta, and since when
	gone    map[string]overlay.Keys // by host that has left: the newest key that it can know
	looked  map[string]overlay.Keys // by host with later keys than this one's: those after which meta was read
	unmet   bool                    // the store has keys of before those known here
	refused string                  // hosts because of which the change is not made, as the log has it
}

func newRotation() rotation {
	return rotation{since: map[string]time.Time{}, former: map[string]time.Time{}, gone: map[string]overlay.Keys{}, looked: map[string]overlay.Keys{}}
}

// Keys are what direct messages are sealed and opened with.
type Keys struct {
	Cluster string
	Ring    keys.Ring // which one seals a message, its receiver decides
	Former  []string  // open messages too, and seal none
}

// Keys are those of the moment.
func (r *Registry) Keys() Keys {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := time.Now()
	out := Keys{Cluster: r.meta.ID}
	out.Ring, out.Former = keys.State{Ring: r.meta.Ring(), Age: r.agesLocked(now)}.Usable()
	for key, since := range r.rotation.former {
		if now.Sub(since) < keys.Linger {
			out.Former = append(out.Former, key)
		}
	}
	slices.Sort(out.Former)
	return out
}

func (r *Registry) agesLocked(now time.Time) map[string]time.Duration {
	if len(r.rotation.since) == 0 {
		return nil
	}
	out := map[string]time.Duration{}
	for id, since := range r.rotation.since {
		out[id] = now.Sub(since)
	}
	return out
}

// turnLocked goes by another identity of the cluster from now on.
func (r *Registry) turnLocked(meta record.Meta) {
	now, rot := time.Now(), &r.rotation
	for _, key := range r.meta.PSK {
		if r.meta.ID == meta.ID && !slices.Contains(meta.PSK, key) {
			rot.former[key] = now
		}
	}
	since := map[string]time.Time{}
	for i, key := range meta.PSK {
		delete(rot.former, key)
		id := keys.ID(key)
		switch was, known := rot.since[id]; {
		case i == 0:
		case known:
			since[id] = was
		default:
			since[id] = now
		}
	}
	rot.since, r.meta = since, meta
	r.self.Keys = meta.Ring().Held()
	r.local.send()
}

// keysState is what a decision goes by now.
func (r *Registry) keysState() keys.State {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keysStateLocked()
}

func (r *Registry) keysStateLocked() keys.State {
	ring := r.meta.Ring()
	return keys.State{
		Ring: ring, Gone: maps.Clone(r.rotation.gone), Age: r.agesLocked(time.Now()), Members: r.peers.Members(ring),
	}
}

// keyKeeper changes the cluster's keys.
type keyKeeper struct{ *Registry }

// run keeps up with the cluster's keys, and changes them when it is due, until ctx
// ends.
func (k keyKeeper) run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := k.tendKeys(ctx); err != nil && ctx.Err() == nil {
			k.log.WithError(err).Debug("The keys of direct messages could not be looked after; it is tried again.")
		}
	}
}

func (k keyKeeper) tendKeys(ctx context.Context) error {
	if !k.placed() || !k.seesAll() {
		return nil
	}
	if later := k.laterKeys(); len(later) > 0 {
		if _, err := k.learnMeta(ctx); err != nil {
			return err
		}
		k.mu.Lock()
		maps.Copy(k.rotation.looked, later)
		k.mu.Unlock()
	}
	if !k.keysDue() {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(mathrand.N(k.spread() + 1)):
	}
	if !k.keysDue() { // somebody was first
		return nil
	}
	return k.changeKeys(ctx, func(s keys.State) (keys.Ring, bool) { return s.Next(newSecret) })
}

// seesAll says whether this host knows the others as the store does at the moment.
func (r *Registry) seesAll() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.contact.Err == nil && !r.leasesUnseen && r.rebuild.hosts
}

// spread is how long hosts wait at most before all of them do something at once.
func (r *Registry) spread() time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return min(spreadMost, time.Duration(r.peers.Count())*spreadEach)
}

// laterKeys finds later keys than this host has, by the hosts whose records have them,
// that were not looked after yet.
func (k keyKeeper) laterKeys() map[string]overlay.Keys {
	k.mu.RLock()
	defer k.mu.RUnlock()
	out := map[string]overlay.Keys{}
	for name, p := range k.peers.All() {
		if k.meta.Ring().Behind(p.Keys) && p.Keys != k.rotation.looked[name] {
			out[name] = p.Keys
		}
	}
	return out
}

// keysDue says whether meta is to be written, and the log why it cannot be.
func (k keyKeeper) keysDue() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.keysStateLocked()
	var refused string
	if known, unable := s.Known(), s.Unable(); len(known) > 0 && len(unable) > 0 {
		refused = strings.Join(unable, ", ")
		if refused != k.rotation.refused {
			k.log.WithFields(map[string]any{"left": strings.Join(known, ", "), "hosts": refused}).
				Warn("Hosts that have left can still read what the others tell each other directly: the key is changed when weft on all hosts knows how, so update it on these.")
		}
	}
	k.rotation.refused = refused
	_, due := s.Next(func() string { return "" })
	return due || k.rotation.unmet
}

// changeKeys writes the ring that decide wants for what the store has.
func (k keyKeeper) changeKeys(ctx context.Context, decide func(keys.State) (keys.Ring, bool)) error {
	var err error
	for range kvstore.Attempts(ctx) {
		if err = k.tryChange(ctx, decide); !errors.Is(err, kvstore.ErrConflict) {
			return err
		}
	}
	return err
}

func (k keyKeeper) tryChange(ctx context.Context, decide func(keys.State) (keys.Ring, bool)) error {
	known := k.Meta()
	has, err := k.learnMeta(ctx)
	if err != nil || has.revision == 0 || has.ID != known.ID {
		return err
	}
	s := k.keysState()
	ring, write := known.Ring().Meet(has.Ring())
	s.Ring = ring
	if next, wanted := decide(s); wanted {
		ring, write = next, true
	}
	if !write {
		k.met()
		return nil
	}
	if err := format.Writable(has.Rest); err != nil {
		return fmt.Errorf("the record %s %w", record.MetaKey, err)
	}
	meta := has.With(ring)
	op, err := record.Put(record.MetaKey, meta)
	if err != nil {
		return err
	}
	op.Kind, op.Revision = kvstore.CAS, has.revision
	if _, err := k.cluster.Txn(ctx, append(k.Fence(), op)...); err != nil {
		return err
	}
	k.met()
	if ring.Generation > has.Generation {
		k.log.WithFields(map[string]any{"generation": ring.Generation, "left": strings.Join(s.Known(), ", ")}).
			Info("The key by which hosts seal what they tell each other directly is another one.")
	}
	return k.adopt(ctx, meta)
}

func (k keyKeeper) met() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rotation.unmet = false
}

// KeysStatus is how far the change of keys has come.
type KeysStatus struct {
	Generation uint64   // how many keys came after the first one
	Count      int      // keys in use
	Waits      []string // hosts that are alive and have not taken the newest over, in order
}

// KeysStatus is that of the moment, as far as this host knows.
func (r *Registry) KeysStatus() KeysStatus {
	s := r.keysState()
	out := KeysStatus{Generation: s.Ring.Generation, Count: len(s.Ring.Keys)}
	if out.Count > 1 {
		out.Waits = s.Waits()
	}
	return out
}

// rotateTime is for how long RotateKeys waits for the former key to go.
const rotateTime = 5 * time.Second

// RotateKeys has the hosts use another key, and waits a while for the end of the former
// one. It refuses while the store does not answer, and while weft on some host knows no
// change of keys. Of two that want it at once, each has what it wants by one change.
func (r *Registry) RotateKeys(ctx context.Context) (KeysStatus, error) {
	if err := r.reach(ctx); err != nil {
		return KeysStatus{}, fmt.Errorf("the hosts' key is not changed, since the store does not answer (%w): try again when it does", err)
	}
	if !r.placed() || !r.seesAll() || r.Meta().ID == "" {
		return KeysStatus{}, errors.New("the hosts' key is not changed, since this host does not know yet which hosts there are: try again in a moment")
	}
	if unable := r.keysState().Unable(); len(unable) > 0 {
		return KeysStatus{}, fmt.Errorf("the hosts' key is not changed, since weft on host %s does not know how: update it there first", strings.Join(unable, ", host "))
	}
	before := r.Self().Keys.Newest
	err := keyKeeper{r}.changeKeys(ctx, func(s keys.State) (keys.Ring, bool) {
		return s.Rotated(newSecret()), s.Ring.Held().Newest == before
	})
	if err != nil {
		return KeysStatus{}, fmt.Errorf("the hosts' key is not changed: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, rotateTime)
	defer cancel()
	_ = r.await(within, &r.local, func() bool { return len(r.meta.PSK) <= 1 })
	return r.KeysStatus(), nil
}

// newSecret makes a key for Meta.PSK.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return base64.StdEncoding.EncodeToString(b[:])
}
