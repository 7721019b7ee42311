package registry_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
)

func (m *machine) documents(since uint64) []overlay.Attachment {
	m.t.Helper()
	docs, err := m.Direct().Documents(m.t.Context(), since)
	m.do("documents", err)
	return docs.New
}

// The numbers of a host's attachments: they grow with what changes, stay with
// what does not, and go on where a process before left them.
func TestNumbersOfAttachments(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	a, b := h1.create("d1", want(subnetA)), h1.create("d2", want(subnetB))
	first := h1.documents(0)
	if len(first) != 2 || first[0].Seq == 0 || first[0].Seq >= first[1].Seq {
		t.Fatalf("got %+v, want two documents in the order of their numbers", first)
	}
	high := first[1].Seq
	h1.join("e1", a.ID, "10.1.0.5")
	changed := h1.documents(high)
	if len(changed) != 1 || changed[0].Network != a.ID || changed[0].Seq <= high {
		t.Fatalf("got %+v, want the one that changed with a higher number", changed)
	}
	high = changed[0].Seq
	if again := h1.documents(high); len(again) != 0 || h1.Direct().Seq() != high {
		t.Errorf("nothing changed, and there is %+v", again)
	}

	h1.restart(cluster)
	if again := h1.documents(high); len(again) != 0 || h1.Direct().Seq() != high {
		t.Errorf("a restart made %+v", again)
	}

	h1.do("delete", h1.Delete(t.Context(), "d2"))
	gone := h1.documents(high)
	if len(gone) != 1 || gone[0].Network != b.ID || !gone[0].Gone || gone[0].Seq <= high {
		t.Fatalf("got %+v, want a withdrawal", gone)
	}
	docs, err := h1.Direct().Documents(t.Context(), 0)
	if err != nil || len(docs.Networks) != 1 || docs.Networks[0] != a.ID {
		t.Errorf("got %+v, %v: the withdrawn network must not be listed", docs, err)
	}
}

// A process that is killed may lose numbers, never give one out twice.
func TestNumbersAfterACrash(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	n := h1.create("d1", want(subnetA))
	h1.join("e1", n.ID, "10.1.0.5")
	high := h1.documents(0)[0].Seq
	killed := snapshotOf(t, h1.state)
	h1.stop()
	h1.state = killed
	h1.start(cluster)
	if docs := h1.documents(0); len(docs) != 1 || docs[0].Seq <= high {
		t.Errorf("after a crash the number is %+v, it was %d", docs, high)
	}
}

// A state older than what the store has of the host, of which no revision of the
// state tells, as a weft of before 0.1.0 has written it: numbers go on above.
func TestNumbersOfAnOldState(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	n := h1.create("d1", want(subnetA))
	old := snapshotOf(t, h1.state)
	for range 600 { // more than a block
		h1.join("e1", n.ID, "10.1.0.5")
		h1.documents(0)
		h1.do("delete", h1.DeleteEndpoint(t.Context(), "e1"))
		h1.documents(0)
	}
	high := h1.Direct().Seq()
	eventually(t, "the store has the last", func() bool {
		return stored(t, cluster, "at/h1/"+n.ID).Seq == high
	})
	h1.stop()
	forgetPlace(t, cluster, "h1")
	h1.state = old
	h1.start(cluster)
	eventually(t, "the store has a higher one", func() bool {
		return stored(t, cluster, "at/h1/"+n.ID).Seq > high
	})
}

// snapshotOf copies a state, as a crash at this moment would leave it.
func snapshotOf(t *testing.T, from kvstore.Store) *bolt.Store {
	t.Helper()
	to := registrytest.OpenStore(t, "copy.db")
	pairs, revision, err := from.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	set := func(key string, value []byte) (now uint64) {
		made, err := to.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: key, Value: value})
		if err != nil {
			t.Fatal(err)
		}
		return made[0].Revision
	}
	for _, p := range pairs {
		set(p.Key, p.Value)
	}
	for i := 0; set("copied", []byte(strconv.Itoa(i))) < revision; i++ { // until the copy's revision is the state's
	}
	return to
}

func stored(t *testing.T, s kvstore.Store, key string) (at overlay.Attachment) {
	t.Helper()
	p, err := s.Get(context.Background(), key)
	if err != nil {
		return at
	}
	if err := json.Unmarshal(p.Value, &at); err != nil {
		t.Fatal(err)
	}
	return at
}
