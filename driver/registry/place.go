package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// # Who has a host's place
//
// A name is not a host: two machines may have one name, and a copy of a machine
// has the name and the state of another. So host/X/owner says which machine has
// X's place in the cluster, with which incarnation of its state, and which process
// took the place. A process takes it by compare-and-set before it publishes or
// claims anything or takes the lease, and only if driver/identity finds that the
// place is this host's and that nobody lives there. From then on everything that
// it claims holds only while the record is the one that it wrote.
//
// The process's word in that record is the value under its lease too. The next process
// goes by the same word if it can show that this process is dead: in the same boot of
// the machine only one process has the state's file open. So it takes over the lease
// that this process left; any other process waits for the lease to end.

// ErrPlace is in the error of a process that may not take its host's place, or has
// lost it: weft must not run on here.
var ErrPlace = errors.New("this host's place is not this process's")

// placeError is an ErrPlace with a sentence of its own.
type placeError string

func (e placeError) Error() string { return string(e) }

// Is makes errors.Is(err, ErrPlace) hold.
func (e placeError) Is(target error) bool { return target == ErrPlace }

func refuse(format string, args ...any) error { return placeError(fmt.Sprintf(format, args...)) }

// ErrOlder is in the error of a process whose state is older than what the store
// was told of it. A new state is of more use.
var ErrOlder = errors.New("this host's state is older than what the cluster knows of this host: the disk was set back, or has lost writes")

// place is how far this process has its host's place.
type place struct {
	*core
	epochs *epochs

	id       Identity
	revision uint64    // of the owner's record that this process wrote; 0: not yet
	unsure   bool      // somebody may have written it since
	had      bool      // this process has had the place
	busy     time.Time // since when it had, and another process holds the lease; zero: none does
}

// placed says whether this process has its host's place.
func (p *place) placed() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.revision != 0
}

// fence gives the condition that nobody has taken this host's place. It never holds
// as long as this process has not taken the place itself.
func (p *place) fence() kvstore.Op {
	p.mu.RLock()
	defer p.mu.RUnlock()
	op := kvstore.Op{Kind: kvstore.Check, Key: record.OwnerKey(p.self.Name), Revision: p.revision}
	if op.Revision == 0 {
		op.Revision = math.MaxInt64
	}
	return op
}

// checkOwner notes that the store has another owner of this host's place than
// this process, or none.
func (f follower) checkOwner(pairs []kvstore.Pair) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := record.OwnerKey(f.self.Name)
	i := slices.IndexFunc(pairs, func(p kvstore.Pair) bool { return p.Key == key })
	if f.place.revision == 0 || i >= 0 && pairs[i].Revision == f.place.revision {
		return
	}
	f.place.unsure = true
	f.local.send()
}

// take makes this process the owner of its host's place, if it is not. An
// ErrPlace or ErrOlder ends the process.
func (p *place) take(ctx context.Context) error {
	p.mu.RLock()
	id, settled, had, alone := p.id, p.revision != 0 && !p.unsure, p.had, p.epochs.Alone
	id.VTEP = p.self.VTEP
	p.mu.RUnlock()
	if settled {
		return nil
	}
	var found identity.Found
	var revision uint64
	var err error
	if had {
		found, revision, err = p.lookAgain(ctx, id)
	} else {
		found, revision, _, err = id.judge(ctx, p.cluster, alone)
	}
	if err != nil {
		return err
	}
	id.Former = id.Succeeds(found)
	if found.Owner != id.Owner || !slices.Equal(found.Former, id.Former) {
		value, err := json.Marshal(record.OwnerRecord{Owner: id.Owner, Former: id.Former})
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		made, err := p.cluster.Txn(ctx, kvstore.Op{Kind: kvstore.CAS, Key: record.OwnerKey(id.Name), Value: value, Revision: revision})
		if err != nil {
			return fmt.Errorf("take this host's place in the cluster: %w", err)
		}
		revision = made[0].Revision
	}
	return p.took(ctx, id, revision)
}

// lookAgain looks who has the place, for a process that has had it. A record that is
// missing was lost with the store's data. A record of another process was brought back
// with a snapshot of the store, perhaps with a lease that is to end by itself; or that
// process has taken over, and does not end.
func (p *place) lookAgain(ctx context.Context, id Identity) (identity.Found, uint64, error) {
	found, revision, err := id.look(ctx, p.cluster)
	if err != nil || found.Owner.Run == id.Run && found.Owner.Machine == id.Machine || found.Owner == (identity.Owner{}) {
		return found, revision, err
	}
	id.Revision, id.Cluster = math.MaxUint64, "" // what it has told this store is no older
	found, revision, busy, err := id.judge(ctx, p.cluster, false)
	if !busy {
		return found, revision, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy.IsZero() {
		p.busy = time.Now()
	}
	if time.Since(p.busy) < vacateTime {
		err = fmt.Errorf("wait for the end of another lease of this host: %w", kvstore.ErrConflict)
	}
	return found, revision, err
}

func (p *place) took(ctx context.Context, id Identity, revision uint64) error {
	defer p.change()()
	unsure := false
	if p.id.Run != id.Run || id.Was != "" || !slices.Equal(p.id.Former, id.Former) {
		id.Was = ""
		p.unsure = false // what is seen from now on makes it unsure again
		if err := p.putLocked(ctx, record.StateBond, id.bond()); err != nil {
			p.unsure = true
			return err
		}
		unsure = p.unsure
		p.id.Run, p.id.Was, p.id.Former = id.Run, "", id.Former
	}
	p.revision, p.unsure, p.had, p.busy = revision, unsure, true, time.Time{}
	p.epochs.tendLocked(true)
	return nil
}

func (id Identity) bond() bond {
	return bond{Machine: id.Machine.Or(id.machine), Was: id.Was, Run: id.Run, Witness: id.witness, Former: id.Former}
}

// awaitPlace returns once this process has its host's place.
func (l leaseHolder) awaitPlace(ctx context.Context) error {
	return l.await(ctx, &l.admission, func() bool { return l.place.revision != 0 })
}
