package mirror

import (
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
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
			id, err := h.Make(request("a", nil))
			if err != nil {
				t.Fatal(err)
			}
			names := func(want ...string) func() bool {
				return func() bool { e, _ := h.records.endpoint("e1"); return slices.Equal(e.Names, want) }
			}
			h.Creates(ref(id), "c1", longID, "box", "db")
			eventually(t, "the new container is looked at", func() bool {
				return h.Count("GET /containers/{id}/json") == 1
			})
			time.Sleep(100 * time.Millisecond)
			busy := make(chan struct{})
			h.SetBusy(busy)
			h.Starting(id, "e1", "c1", longID, "box", "db", "late")
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
	id, err := h.Make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	busy := make(chan struct{})
	h.SetBusy(busy)
	h.Creates("a", "c1", longID, "box", "db")
	h.Starting(id, "e1", "c1", longID, "box", "db")
	h.records.join(id, "e1", time.Now())
	eventually(t, "the name at join", func() bool { e, _ := h.records.endpoint("e1"); return e.Name == "c1" })
	eventually(t, "Docker is asked already", func() bool { return h.Count("GET /containers/{id}/json") == 2 })
	if e, _ := h.records.endpoint("e1"); len(e.Names) != 1 {
		t.Errorf("names %q", e.Names)
	}
	close(busy)
	eventually(t, "all names, without any event", func() bool { e, _ := h.records.endpoint("e1"); return len(e.Names) == 4 })
}

func TestContainersGetTheirNames(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	id, err := h.Make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) func() bool {
		return func() bool { e, _ := h.records.endpoint("e1"); return e.Name == name }
	}
	h.Show(id, "e1", "c1")
	h.records.join(id, "e1", time.Now())
	eventually(t, "name at join, before any event", named("c1"))

	names := func(want ...string) func() bool {
		return func() bool { e, _ := h.records.endpoint("e1"); return slices.Equal(e.Names, want) }
	}
	h.records.join(id, "e2", time.Now())
	busy := make(chan struct{})
	h.SetBusy(busy)
	h.Started(id, "e1", "c1", longID, "box", "db", "c1", longID[:12])
	time.Sleep(100 * time.Millisecond) // Docker is still at it
	h.Show(id, "e2", "other")
	eventually(t, "nobody else waits for it", func() bool { e, _ := h.records.endpoint("e2"); return e.Name == "other" })
	close(busy)
	eventually(t, "all names", names("c1", "db", longID[:12], "box"))
	if err := h.records.DeleteEndpoint(t.Context(), "e2"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)

	inspects := h.Count("GET /networks/{id}")
	for range 20 {
		h.Send(events.Message{Type: "network", Action: "connect", Actor: events.Actor{ID: id}})
		c.change(func() {})
	}
	h.Started(id, "e1", "c2", longID, "box", "db", longID[:12])
	h.Send(events.Message{Type: "container", Action: "rename", Actor: events.Actor{Attributes: map[string]string{"oldName": "/c1", "name": "/c2"}}})
	eventually(t, "new name", names("c2", "db", longID[:12], "box"))
	if n := h.Count("GET /networks/{id}") - inspects; n != 1 {
		t.Errorf("Docker was asked about the network %d times for a rename, want 1", n)
	}

	h.records.join(id, "e3", time.Now())
	time.Sleep(100 * time.Millisecond)
	h.Show(id, "e3", "c3") // Docker shows it a moment later
	eventually(t, "late name", func() bool { e, _ := h.records.endpoint("e3"); return e.Name == "c3" })
}
