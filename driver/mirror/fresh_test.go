package mirror

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/sirupsen/logrus"
)

const longID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestAllNamesOfANewContainerAreThereBeforeItsStartIsDone(t *testing.T) {
	for what, ref := range map[string]func(id string) string{
		"network by name": func(string) string { return "a" },
		"network by id":   func(id string) string { return id },
	} {
		t.Run(what, func(t *testing.T) {
			c := newCluster()
			h := newHost(t, c, "h1").up(t)
			id, err := h.make(request("a", nil))
			if err != nil {
				t.Fatal(err)
			}
			names := func(want ...string) func() bool {
				return func() bool { e, _ := h.records.endpoint("e1"); return slices.Equal(e.Names, want) }
			}
			h.creates(ref(id), "c1", longID, "box", "db")
			eventually(t, "the new container is looked at", func() bool {
				return h.count("GET /containers/{id}/json") == 1
			})
			time.Sleep(100 * time.Millisecond)
			busy := make(chan struct{})
			h.setBusy(busy)
			h.starting(id, "e1", "c1", longID, "box", "db", "late")
			h.records.join(id, "e1", time.Now())
			eventually(t, "all names while Docker is at it", names("c1", "db", longID[:12], "box"))
			close(busy)
			eventually(t, "the names that Docker tells in the end", names("c1", "db", "late", longID[:12], "box"))
		})
	}
}

func TestANewContainerThatStartsTooSoonIsNamedWhenItHasStarted(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	id, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	busy := make(chan struct{})
	h.setBusy(busy)
	h.creates("a", "c1", longID, "box", "db")
	h.starting(id, "e1", "c1", longID, "box", "db")
	h.records.join(id, "e1", time.Now())
	eventually(t, "the name at join", func() bool { e, _ := h.records.endpoint("e1"); return e.Name == "c1" })
	eventually(t, "Docker is asked already", func() bool { return h.count("GET /containers/{id}/json") == 2 })
	if e, _ := h.records.endpoint("e1"); len(e.Names) != 1 {
		t.Errorf("names %q", e.Names)
	}
	close(busy)
	eventually(t, "all names, without any event", func() bool { e, _ := h.records.endpoint("e1"); return len(e.Names) == 4 })
}

func TestNamesFromBeforeTheStartEndWithTheirContainer(t *testing.T) {
	for _, m := range []events.Message{
		{Type: "container", Action: "start", Actor: events.Actor{ID: longID}},
		{Type: "container", Action: "destroy", Actor: events.Actor{ID: longID}},
		{Type: "container", Action: "rename", Actor: events.Actor{ID: longID, Attributes: map[string]string{"oldName": "/c1"}}},
	} {
		s := &session{names: newNames(nil, nil, logrus.New())}
		s.names.fresh.all[longID] = freshContainer{name: "c1", since: time.Now(), names: map[string][]string{"a": {"c1", "db"}}}
		if _, names := s.names.fresh.find("c1", "a"); len(names) != 2 {
			t.Fatalf("names %q", names)
		}
		s.event(t.Context(), m)
		if id, names := s.names.fresh.find("c1", "a"); id != "" || names != nil {
			t.Errorf("after %s: %s %q", m.Action, id, names)
		}
	}
}

// teller tells of every new container that it is in network a.
type teller struct{ inspector }

func (teller) created(_ context.Context, id string) (map[string][]string, error) {
	return map[string][]string{"a": {id, "alias"}}, nil
}

func TestNewContainersAreRememberedWithABound(t *testing.T) {
	f := newFresh()
	for i := range 2 * freshMax {
		id := fmt.Sprint(i)
		if err := f.add(t.Context(), teller{}, id, id); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.all); n != freshMax {
		t.Errorf("%d are remembered, want %d", n, freshMax)
	}
	for id, c := range f.all {
		c.since = time.Now().Add(-freshFor - time.Second)
		f.all[id] = c
	}
	if err := f.add(t.Context(), teller{}, "next", "next"); err != nil {
		t.Fatal(err)
	}
	if _, names := f.find("next", "b", "a"); !slices.Equal(names, []string{"next", "alias"}) || len(f.all) != 1 {
		t.Errorf("next has names %q, and %d are remembered", names, len(f.all))
	}
}
