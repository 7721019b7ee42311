package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/epoch"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Identity is which host this is, as far as its state and its machine say.
type Identity struct {
	identity.Self
	Name    string // "": the state has none
	Cluster string // id of the cluster that the state is of

	machine identity.Machine // that the state belongs to
	witness string
	goesOn  bool                    // the process before is surely dead
	known   map[string]overlay.Host // other hosts of that cluster
	nets    map[string]bool         // keys of its networks
	alone   bool
}

// bond is what the state says of the machine that it is on, and of the process
// that has it.
type bond struct {
	Machine identity.Machine `json:"machine,omitzero"`
	Was     string           `json:"was,omitempty"` // the machine whose place this one is to take
	Run     string           `json:"run"`
	Witness string           `json:"witness"` // who has the same is the only process with this state
	Former  []string         `json:"former,omitempty"`
}

// Identify reads which host this is. It writes nothing. The witness names the boot
// of the machine and the state's file in it.
func Identify(ctx context.Context, state kvstore.Store, machine identity.Machine, witness string) (Identity, error) {
	id := Identity{witness: witness, known: map[string]overlay.Host{}, nets: map[string]bool{}}
	pairs, revision, err := state.List(ctx, "")
	if err != nil {
		return id, fmt.Errorf("read which host this is: %w", err)
	}
	var self overlay.Host
	var meta record.Meta
	var was bond
	var of epoch.State
	for _, p := range pairs {
		var err error
		switch {
		case p.Key == record.StateSelf:
			err = json.Unmarshal(p.Value, &self)
		case p.Key == record.StateMeta:
			err = json.Unmarshal(p.Value, &meta)
		case p.Key == record.StateEpoch:
			err = json.Unmarshal(p.Value, &of)
		case p.Key == record.StateBond:
			err = json.Unmarshal(p.Value, &was)
		case strings.HasPrefix(p.Key, record.StateNetwork):
			id.nets[record.NetworkKey(p.Key[len(record.StateNetwork):])] = true
		case strings.HasPrefix(p.Key, record.StateHost):
			var host overlay.Host
			err = json.Unmarshal(p.Value, &host)
			id.known[p.Key[len(record.StateHost):]] = host
		}
		if err != nil {
			return id, fmt.Errorf("record %s is %w: %w", p.Key, ErrDamaged, err)
		}
	}
	id.Name, id.Incarnation, id.Revision, id.Cluster, id.alone = self.Name, self.Incarnation, revision, meta.ID, of.Alone
	id.machine, id.Was, id.Former, id.New = was.Machine, was.Was, was.Former, was.Run == ""
	id.Machine, id.Run, id.goesOn = machine, was.Run, was.Run != "" && was.Witness == witness
	if !id.goesOn {
		id.Run = newID() + newID()
	}
	return id, nil
}

// Bind says that the state belongs to this machine, or refuses it as another's.
// The machine called adopt is one whose place this one takes, by the word of
// somebody who knows that it does not come back.
func (id *Identity) Bind(adopt string) error {
	if same, known := id.Machine.Compare(id.machine); known && !same {
		if !id.machine.Is(adopt) {
			return refuse("the state is of host %q on another machine, %s, of which this one is a copy or has the disk: if it is to be a host of its own, remove the state and give it its own machine-id and name; if it takes that machine's place for good, start weft with --adopt %s",
				id.Name, id.machine, id.machine)
		}
		id.Was = adopt
	}
	if id.Incarnation == "" {
		id.Was = adopt
	}
	return nil
}

// Anew is the identity of the same host on the same machine with a new state, which
// has this witness.
func (id Identity) Anew(witness string) Identity {
	id.Incarnation, id.Revision, id.New, id.Run, id.witness = "", 0, true, newID()+newID(), witness
	return id
}

// look reads what the store has of the host. A record that cannot be read says
// nothing; it is told elsewhere, and written anew.
func (id Identity) look(ctx context.Context, cluster kvstore.Store) (found identity.Found, revision uint64, err error) {
	pairs, _, err := cluster.List(ctx, record.HostPrefix+id.Name+"/")
	if err != nil {
		return found, 0, fmt.Errorf("look who has this host's place: %w", err)
	}
	for _, p := range pairs {
		switch p.Key {
		case record.OwnerKey(id.Name):
			revision = p.Revision
			var of record.OwnerRecord
			if json.Unmarshal(p.Value, &of) == nil {
				found.Owner, found.Former = of.Owner, of.Former
			}
		case record.HostKey(id.Name):
			var doc record.HostDoc
			if json.Unmarshal(p.Value, &doc) == nil {
				found.Known, found.Left = true, doc.Left
				found.Incarnation, found.VTEP, found.Revision = doc.Incarnation, doc.VTEP, doc.State
			}
		case record.LiveKey(id.Name):
			if p.Held {
				found.Lease = string(p.Value)
			}
		}
	}
	return found, revision, nil
}

// judge reads what the store has of the host, and says with an ErrPlace or ErrOlder
// why this process may not take its place; busy, that it may not yet.
func (id *Identity) judge(ctx context.Context, cluster kvstore.Store, alone bool) (found identity.Found, revision uint64, busy bool, err error) {
	if err := id.sameCluster(ctx, cluster, alone); err != nil {
		return found, 0, false, err
	}
	if found, revision, err = id.look(ctx, cluster); err != nil {
		return found, 0, false, err
	}
	switch id.Judge(found) {
	case identity.Free:
		if id.Inherits(found) {
			id.Run = found.Lease
		}
		return found, revision, false, nil
	case identity.Busy:
		return found, revision, true, refuse("host %q runs already, at %v, with this host's state and machine-id: if this machine is a copy of that one, remove the state and give it its own machine-id and name", id.Name, found.At())
	case identity.Older:
		return found, revision, false, ErrOlder
	case identity.Foreign:
	}
	return found, revision, false, id.foreign(found)
}

// foreign says that the place is another machine's, and what to do.
func (id *Identity) foreign(found identity.Found) error {
	lives := "has been down since its weft ended"
	if found.Lease != "" {
		lives = "runs"
	}
	machine := found.Owner.Machine
	if !machine.Known() {
		return refuse("host %[1]q is another machine of the cluster, at %[2]v, which %[3]s: give this one a name of its own with --host or, if that one does not come back, run `weft host forget %[1]s` on another host first",
			id.Name, found.At(), lives)
	}
	return refuse("host %[1]q is another machine of the cluster, at %[2]v, which %[3]s: give this one a name of its own with --host or, if it takes that one's place for good, start weft with --adopt %[4]s",
		id.Name, found.At(), lives, machine)
}

// sameCluster refuses a store that another cluster uses. Where the same hosts or
// networks are, it is the same cluster, whose store was wiped and has a new id since.
func (id *Identity) sameCluster(ctx context.Context, cluster kvstore.Store, alone bool) error {
	if id.Cluster == "" || id.alone != alone {
		return nil
	}
	var meta record.Meta
	pair, err := cluster.Get(ctx, record.MetaKey)
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return fmt.Errorf("read the cluster's identity: %w", err)
	}
	// A record that cannot be read says of no other cluster; it is told elsewhere.
	if err != nil || json.Unmarshal(pair.Value, &meta) != nil || meta.ID == id.Cluster {
		return nil
	}
	pairs, _, err := cluster.List(ctx, record.HostPrefix)
	if err != nil {
		return fmt.Errorf("look whose the store is: %w", err)
	}
	var strangers []string
	for _, p := range pairs {
		var doc record.HostDoc
		if !strings.HasSuffix(p.Key, "/doc") || json.Unmarshal(p.Value, &doc) != nil || doc.Left {
			continue
		}
		if doc.Name == id.Name && doc.Incarnation == id.Incarnation || doc.VTEP == id.VTEP || id.known[doc.Name].VTEP == doc.VTEP {
			return nil
		}
		strangers = append(strangers, doc.Name)
	}
	if len(strangers) == 0 {
		return nil
	}
	if pairs, _, err = cluster.List(ctx, record.NetPrefix); err != nil {
		return fmt.Errorf("look whose the store is: %w", err)
	}
	if slices.ContainsFunc(pairs, func(p kvstore.Pair) bool { return id.nets[p.Key] }) {
		return nil
	}
	return refuse("the store is of another cluster, %s with host %s, and this host is of cluster %s: put the address or the prefix in --store right or, to move this host to that cluster, run `weft leave` in its own one and remove its state",
		meta.ID, strings.Join(strangers, ", host "), id.Cluster)
}

// Waiting times of Await: for an answer of the store, and for the end of a lease,
// which runs out about twice its time after the last renewal.
const (
	answerTime = 3 * time.Second
	shortTime  = time.Second // where the process before is surely dead
	vacateTime = 2*leaseTTL + 5*time.Second
	placeLook  = 250 * time.Millisecond
)

// Await returns nil once the store says that this process may take its host's
// place, or if the store does not answer: then what the host has goes on, and the
// place is taken when it answers. It fails with an ErrPlace or ErrOlder. It writes
// nothing. told, if not nil, is called when it has to wait for a lease.
func (id *Identity) Await(ctx context.Context, cluster kvstore.Store, alone bool, told func(error)) error {
	began, waited, patience := time.Now(), false, answerTime
	if id.goesOn {
		patience = shortTime
	}
	for {
		look, cancel := context.WithTimeout(ctx, patience)
		_, _, busy, err := id.judge(look, cluster, alone)
		cancel()
		switch {
		case err == nil, errors.Is(err, ErrOlder), errors.Is(err, ErrPlace) && !busy:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !busy && !waited:
			return nil // the store does not answer
		case time.Since(began) > vacateTime:
			return err
		}
		if !waited && told != nil {
			told(err)
		}
		waited = true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(placeLook):
		}
	}
}
