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
	"github.com/weft-net/weft/driver/registry/peers"
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

// Keyring is the cluster's identity and its keys, and this host's part in their change.
type Keyring struct {
	*core
	epochs  *epochs
	place   *place
	contact *contact
	claims  *Claims
	peers   *peers.Peers
	rebuild *rebuild

	meta         record.Meta
	rotation     rotation
	storeChanged bool // the host was alone when it ran last and is not now, or the other way round
}

func (k *Keyring) agesLocked(now time.Time) map[string]time.Duration {
	if len(k.rotation.since) == 0 {
		return nil
	}
	out := map[string]time.Duration{}
	for id, since := range k.rotation.since {
		out[id] = now.Sub(since)
	}
	return out
}

// turnLocked goes by another identity of the cluster from now on.
func (k *Keyring) turnLocked(meta record.Meta) {
	now, rot := time.Now(), &k.rotation
	for _, key := range k.meta.PSK {
		if k.meta.ID == meta.ID && !slices.Contains(meta.PSK, key) {
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
	rot.since, k.meta = since, meta
	k.self.Keys = meta.Ring().Held()
	k.local.send()
}

// keysState is what a decision goes by now.
func (k *Keyring) keysState() keys.State {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keysStateLocked()
}

func (k *Keyring) keysStateLocked() keys.State {
	ring := k.meta.Ring()
	return keys.State{
		Ring: ring, Gone: maps.Clone(k.rotation.gone), Age: k.agesLocked(time.Now()), Members: k.peers.Members(ring),
	}
}

// run keeps up with the cluster's keys, and changes them when it is due, until ctx
// ends.
func (k *Keyring) run(ctx context.Context) error {
	return every(ctx, tick, func() {
		if err := k.tendKeys(ctx); err != nil && ctx.Err() == nil {
			k.log.WithError(err).Debug("The keys of direct messages could not be looked after; it is tried again.")
		}
	})
}

func (k *Keyring) tendKeys(ctx context.Context) error {
	if !k.place.placed() || !k.seesAll() {
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
	case <-time.After(mathrand.N(k.epochs.spread() + 1)):
	}
	if !k.keysDue() { // somebody was first
		return nil
	}
	return k.changeKeys(ctx, func(s keys.State) (keys.Ring, bool) { return s.Next(newSecret) })
}

// seesAll says whether this host knows the others as the store does at the moment.
func (k *Keyring) seesAll() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.contact.last.Err == nil && !k.contact.leasesUnseen && k.rebuild.hosts
}

// laterKeys finds later keys than this host has, by the hosts whose records have them,
// that were not looked after yet.
func (k *Keyring) laterKeys() map[string]overlay.Keys {
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
func (k *Keyring) keysDue() bool {
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
func (k *Keyring) changeKeys(ctx context.Context, decide func(keys.State) (keys.Ring, bool)) error {
	var err error
	for range kvstore.Attempts(ctx) {
		if err = k.tryChange(ctx, decide); !errors.Is(err, kvstore.ErrConflict) {
			return err
		}
	}
	return err
}

func (k *Keyring) tryChange(ctx context.Context, decide func(keys.State) (keys.Ring, bool)) error {
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
	if _, err := k.cluster.Txn(ctx, append(k.claims.Fence(), op)...); err != nil {
		return err
	}
	k.met()
	if ring.Generation > has.Generation {
		k.log.WithFields(map[string]any{"generation": ring.Generation, "left": strings.Join(s.Known(), ", ")}).
			Info("The key by which hosts seal what they tell each other directly is another one.")
	}
	return k.adopt(ctx, meta)
}

func (k *Keyring) met() {
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

// Status is that of the moment, as far as this host knows.
func (k *Keyring) Status() KeysStatus {
	s := k.keysState()
	out := KeysStatus{Generation: s.Ring.Generation, Count: len(s.Ring.Keys)}
	if out.Count > 1 {
		out.Waits = s.Waits()
	}
	return out
}

// rotateTime is for how long Rotate waits for the former key to go.
const rotateTime = 5 * time.Second

// Rotate has the hosts use another key, and waits a while for the end of the former
// one. It refuses while the store does not answer, and while weft on some host knows no
// change of keys. Of two that want it at once, each has what it wants by one change.
func (k *Keyring) Rotate(ctx context.Context) (KeysStatus, error) {
	if err := k.contact.reach(ctx); err != nil {
		return KeysStatus{}, fmt.Errorf("the hosts' key is not changed, since the store does not answer (%w): try again when it does", err)
	}
	if !k.place.placed() || !k.seesAll() || k.Meta().ID == "" {
		return KeysStatus{}, errors.New("the hosts' key is not changed, since this host does not know yet which hosts there are: try again in a moment")
	}
	if unable := k.keysState().Unable(); len(unable) > 0 {
		return KeysStatus{}, fmt.Errorf("the hosts' key is not changed, since weft on host %s does not know how: update it there first", strings.Join(unable, ", host "))
	}
	before := k.Self().Keys.Newest
	err := k.changeKeys(ctx, func(s keys.State) (keys.Ring, bool) {
		return s.Rotated(newSecret()), s.Ring.Held().Newest == before
	})
	if err != nil {
		return KeysStatus{}, fmt.Errorf("the hosts' key is not changed: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, rotateTime)
	defer cancel()
	_ = k.await(within, &k.local, func() bool { return len(k.meta.PSK) <= 1 })
	return k.Status(), nil
}

// newSecret makes a key for Meta.PSK.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return base64.StdEncoding.EncodeToString(b[:])
}
