package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kvstore"
)

// forgetPlace leaves in the store what a weft writes there that knows of no
// machines.
func forgetPlace(t *testing.T, cluster kvstore.Store, host string) {
	t.Helper()
	doc, err := cluster.Get(t.Context(), "host/"+host+"/doc")
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(doc.Value, &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "state")
	value, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Txn(t.Context(),
		kvstore.Op{Kind: kvstore.Set, Key: doc.Key, Value: value},
		kvstore.Op{Kind: kvstore.Delete, Key: "host/" + host + "/owner"},
	); err != nil {
		t.Fatal(err)
	}
}

// identify is what weft does at its start before anything else.
func identify(t *testing.T, state kvstore.Store, name, machine, vtep string) registry.Identity {
	t.Helper()
	id, err := registry.Identify(t.Context(), state, identity.Machine{ID: machine}, machine)
	if err != nil {
		t.Fatal(err)
	}
	id.Name, id.VTEP = name, netip.MustParseAddr(vtep)
	return id
}

// refuses fails unless err is a refusal that has all the words.
func refuses(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, registry.ErrPlace) {
		t.Fatalf("it was not refused: %v", err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("that is not one sentence: %q", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

// keysOf are the keys of the store's records.
func keysOf(t *testing.T, s kvstore.Store) (out []string) {
	t.Helper()
	pairs, _, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		out = append(out, p.Key)
	}
	return out
}

// running is h1 on its machine, with one claim.
func running(t *testing.T, cluster kvstore.Store) *machine {
	t.Helper()
	h1 := &machine{t: t, name: "h1", state: registrytest.OpenStore(t, "h1.db"), real: true, vtep: "192.0.2.1", id: "m1"}
	h1.start(cluster)
	t.Cleanup(func() { h1.stop() })
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	eventually(t, "h1 may claim", h1.mayClaim)
	_, err := h1.addrs.RequestPool(t.Context(), ipam.PoolRequest{Subnet: subnetA})
	h1.do("pool", err)
	n := h1.create("d1", want(subnetA))
	h1.do("claim", h1.claim(used))
	h1.join("e1", n.ID, used.String())
	eventually(t, "the store has h1's container and its lease", func() bool {
		live, err := cluster.Get(t.Context(), "host/h1/live")
		return err == nil && live.Held && len(stored(t, cluster, "at/h1/"+n.ID).Endpoints) == 1
	})
	return h1
}

// A machine whose name another one has neither gets that one's place nor disturbs it,
// whether that one runs or not, before somebody says that it is gone.
func TestTwoMachinesOfOneName(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := running(t, cluster)
	second := &machine{t: t, name: "h1", state: registrytest.OpenStore(t, "second.db"), real: true, vtep: "192.0.2.2", id: "m2"}
	id := identify(t, second.state, "h1", "m2", "192.0.2.2")
	refuses(t, id.Await(t.Context(), cluster, false, nil), "192.0.2.1", "runs", "--host", "--adopt")

	second.refused = true // as one that finds the store only when it runs
	second.start(cluster)
	refuses(t, second.end(), "another machine")
	if _, _, err := second.Claims().Admit(); err == nil {
		t.Error("the second machine may claim")
	}
	if a, _ := h1.Endpoint("e1"); a.Phase != "joined" || !h1.mayClaim() {
		t.Errorf("the first machine was disturbed: %s", a.Phase)
	}
	h1.stop()
	refuses(t, id.Await(t.Context(), cluster, false, nil), "has been down")
	h1.do("leave", h1.Departure().Retire(t.Context()))
	second.refused = false
	second.start(cluster)
	t.Cleanup(func() { second.stop() })
	eventually(t, "the second machine has the name, since the first has left", second.mayClaim)
	first := identify(t, h1.state, "h1", "m1", "192.0.2.1")
	refuses(t, first.Await(t.Context(), cluster, false, nil), "192.0.2.2", "another machine")
}

// A copy of a state is refused on another machine, before anything is asked; with a
// word from somebody it takes the place once nobody lives there, and the first one
// is refused from then on.
func TestAStateOfAnotherMachine(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := running(t, cluster)
	copied := snapshotOf(t, h1.state)
	before, _, err := copied.List(t.Context(), "")
	h1.do("read the copy", err)
	id := identify(t, copied, "h1", "m2", "192.0.2.2")
	refuses(t, id.Bind(""), `"h1"`, "another machine", "--adopt m1")
	refuses(t, id.Bind("m3"), "--adopt m1")
	after, _, err := copied.List(t.Context(), "")
	h1.do("read the copy", err)
	if !reflect.DeepEqual(before, after) {
		t.Error("the refusal has changed the copy")
	}
	h1.do("adopt", id.Bind("m1"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := id.Await(ctx, cluster, false, nil); err == nil {
		t.Fatal("the copy has the place of a machine that lives")
	}
	h1.stop()
	copied = snapshotOf(t, h1.state)
	second := &machine{t: t, name: "h1", state: copied, real: true, vtep: "192.0.2.2", id: "m2", adopt: "m1"}
	second.start(cluster)
	t.Cleanup(func() { second.stop() })
	eventually(t, "the copy has the place", second.mayClaim)
	h1.refused = true
	h1.start(cluster)
	refuses(t, h1.end(), "another machine")
	second.restart(cluster) // and needs the word no more
	second.adopt = ""
	second.restart(cluster)
	eventually(t, "the copy has the place again", second.mayClaim)
}

// A copy with the same machine-id is another process of the same host: it waits for
// the lease of the first one to end, which does not happen, and writes nothing.
func TestACopyWithTheSameMachineID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := registrytest.OpenStore(t, "cluster.db")
		h1 := running(t, cluster)
		copied := snapshotOf(t, h1.state)
		id, err := registry.Identify(t.Context(), copied, identity.Machine{ID: "m1"}, "another boot")
		h1.do("identify", err)
		id.VTEP = netip.MustParseAddr("192.0.2.2")
		waits := 0
		began := time.Now()
		refuses(t, id.Await(t.Context(), cluster, false, func(error) { waits++ }), "runs already", "192.0.2.1", "machine-id")
		if took := time.Since(began); waits != 1 || took < 20*time.Second || took > 30*time.Second {
			t.Errorf("it waited %d times, for %v", waits, took)
		}
		if !h1.mayClaim() {
			t.Error("the first one was disturbed")
		}
		h1.stop()
		began = time.Now()
		h1.do("wait", id.Await(t.Context(), cluster, false, nil))
		if took := time.Since(began); took > time.Second {
			t.Errorf("with nobody there it took %v", took)
		}
	})
}

// Of two processes of one host, one has the place: what the other claims, however
// late, is not carried out, and it ends.
func TestAProcessThatWasReplacedClaimsNothing(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := running(t, cluster)
	late := append([]kvstore.Op{{Kind: kvstore.CAS, Key: "addr/10.1.0.0_24/10.1.0.200", Value: []byte(`{"h":"h1","i":"x","e":1}`)}}, h1.Claims().Fence()...)
	owner, err := json.Marshal(identity.Owner{Machine: identity.Machine{ID: "m2"}, Incarnation: h1.Self().Incarnation, Run: "another", VTEP: netip.MustParseAddr("192.0.2.2")})
	h1.do("encode", err)
	h1.refused = true
	doc, err := json.Marshal(map[string]any{"name": "h1", "inc": h1.Self().Incarnation, "vtep": "192.0.2.2"})
	h1.do("encode", err)
	_, err = cluster.Txn(t.Context(),
		kvstore.Op{Kind: kvstore.Set, Key: "host/h1/owner", Value: owner}, kvstore.Op{Kind: kvstore.Set, Key: "host/h1/doc", Value: doc})
	h1.do("take its place", err)
	if _, err := cluster.Txn(t.Context(), late...); !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("a process that was replaced may claim: %v", err)
	}
	eventually(t, "it ends", func() bool { return h1.ended() })
	refuses(t, h1.end(), "machine")
}

// A state that is older than what the store was told of it, as from a disk that was
// set back, is not gone on with: addresses that it has in stock may be in use.
func TestAStateThatWasSetBack(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := running(t, cluster)
	old := snapshotOf(t, h1.state)
	h1.join("e2", h1.Networks()[0].ID, "10.1.0.9")
	eventually(t, "the store has the second container", func() bool {
		return len(stored(t, cluster, "at/h1/"+h1.Networks()[0].ID).Endpoints) == 2
	})
	h1.stop()
	id := identify(t, old, "h1", "m1", "192.0.2.1")
	if err := id.Await(t.Context(), cluster, false, nil); !errors.Is(err, registry.ErrOlder) {
		t.Fatalf("the old state was taken: %v", err)
	}
	h1.state, h1.refused = old, true // as one that finds the store only when it runs
	h1.start(cluster)
	if err := h1.end(); !errors.Is(err, registry.ErrOlder) {
		t.Fatalf("the old state was gone on with: %v", err)
	}
	h1.state, h1.refused = registrytest.OpenStore(t, "new.db"), false
	h1.start(cluster)
	eventually(t, "with a new state the host has its place", h1.mayClaim)
	if got := stored(t, cluster, "at/h1/"+h1.Networks()[0].ID).Endpoints; len(got) != 2 {
		t.Errorf("the others are told of %v", got)
	}
}

// A state from before the host's state was lost is older too, however far it had come
// by then. The host knows that even if the store has lost it.
func TestAStateOfBeforeItWasLost(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := running(t, cluster)
	h1.stop()
	first := h1.state
	h1.state = registrytest.OpenStore(t, "second.db")
	h1.start(cluster)
	eventually(t, "with a new state the host has its place, and its record says so", func() bool {
		return h1.mayClaim() && strings.Contains(string(read(t, cluster, "host/h1/doc").Value), h1.Self().Incarnation)
	})
	h1.stop()
	remove(t, cluster, "host/h1/owner")
	h1.start(cluster)
	eventually(t, "with that state it has its place again", h1.mayClaim)
	h1.stop()
	id := identify(t, first, "h1", "m1", "192.0.2.1")
	if err := id.Await(t.Context(), cluster, false, nil); !errors.Is(err, registry.ErrOlder) {
		t.Errorf("the state of before was taken: %v", err)
	}
	id = identify(t, h1.state, "h1", "m1", "192.0.2.1")
	h1.do("take its place once more", id.Await(t.Context(), cluster, false, nil))
}

// What a weft wrote that knew of no machines is taken over in place.
func TestAStateWithoutAMachineIsTakenOver(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := running(t, cluster)
	before := h1.Self().Incarnation
	h1.stop()
	forgetPlace(t, cluster, "h1")
	if _, err := h1.state.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: "bond"}); err != nil {
		t.Fatal(err)
	}
	h1.vtep = "192.0.2.7" // and its address has changed
	id := identify(t, h1.state, "h1", "m1", h1.vtep)
	h1.do("bind", id.Bind(""))
	h1.do("wait", id.Await(t.Context(), cluster, false, nil))
	h1.start(cluster)
	eventually(t, "it has its place", h1.mayClaim)
	if e, _ := h1.Endpoint("e1"); e.Phase != "joined" || h1.Self().Incarnation != before {
		t.Errorf("its container is %s, its incarnation %s, and was %s", e.Phase, h1.Self().Incarnation, before)
	}
	copied := identify(t, snapshotOf(t, h1.state), "h1", "m2", "192.0.2.2")
	refuses(t, copied.Bind(""), "another machine")
}

// A host does not mix with another cluster that uses the same prefix; one whose
// store was wiped, and has a new id since, it knows by its hosts.
func TestAStoreOfAnotherCluster(t *testing.T) {
	ours, theirs := registrytest.OpenStore(t, "ours.db"), registrytest.OpenStore(t, "theirs.db")
	h1 := running(t, ours)
	h2 := &machine{t: t, name: "h2", state: registrytest.OpenStore(t, "h2.db"), vtep: "192.0.2.2", id: "m2"}
	h2.start(ours)
	t.Cleanup(func() { h2.stop() })
	eventually(t, "h1 knows h2", func() bool { return len(h1.HostStates()) == 1 })
	other := &machine{t: t, name: "h1", state: registrytest.OpenStore(t, "other.db"), vtep: "192.0.2.9", id: "m9"}
	other.start(theirs)
	t.Cleanup(func() { other.stop() })
	eventually(t, "the other cluster is there", func() bool { _, err := theirs.Get(t.Context(), "host/h1/doc"); return err == nil })
	h1.stop()
	before := keysOf(t, theirs)
	state, _, err := h1.state.List(t.Context(), "")
	h1.do("read its state", err)
	id := identify(t, h1.state, "h1", "m1", "192.0.2.1")
	refuses(t, id.Await(t.Context(), theirs, false, nil), "another cluster", "--store", "weft leave")
	after, _, err := h1.state.List(t.Context(), "")
	h1.do("read its state", err)
	if !reflect.DeepEqual(state, after) {
		t.Error("the refusal has changed the state")
	}
	h1.refused = true
	h1.start(theirs)
	refuses(t, h1.end(), "another cluster")
	if after := keysOf(t, theirs); !slices.Equal(before, after) {
		t.Errorf("the other cluster had the records %v, and has %v", before, after)
	}
	if p := read(t, theirs, "host/h1/owner"); !strings.Contains(string(p.Value), "192.0.2.9") {
		t.Errorf("the other cluster's h1 has lost its place: %s", p.Value)
	}

	h2.stop()
	wiped := registrytest.OpenStore(t, "wiped.db")
	anew := &machine{t: t, name: "h2", state: registrytest.OpenStore(t, "anew.db"), vtep: "192.0.2.2", id: "m2"}
	anew.start(wiped)
	t.Cleanup(func() { anew.stop() })
	eventually(t, "a host without a state has begun in the wiped store", func() bool { _, err := wiped.Get(t.Context(), "host/h2/doc"); return err == nil })
	h1.do("look at the wiped store", id.Await(t.Context(), wiped, false, nil))
}
