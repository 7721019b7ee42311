package mirror

import (
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
)

// A host that has lost its state takes over the networks and the containers'
// endpoints that its Docker has, and says so when that is done.
func TestLostRecordsAreTakenOver(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1")
	id, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := h.make(request("unknown", nil))
	if err != nil {
		t.Fatal(err)
	}
	h.start(t)
	d, err := dial(t.Context(), h.host())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	c.change(func() {
		n := c.networks["w1"]
		n.Name, n.Subnets = "a", nil
		c.networks["w1"] = n
		delete(h.records.docker, id)
		delete(h.records.docker, foreign)
		delete(c.networks, "w2")
		h.records.lost, h.records.away = true, true
	})
	h.runs(id, "e1", "c1", "cc1", "10.1.0.2")
	h.runs(id, "short", "c2", "cc2", "10.1.0.3")
	h.runs(foreign, "e3", "c3", "cc3", "10.9.0.3")
	log, _ := test.NewNullLogger()
	h.mirror.cfg.Log = log
	take := &takeover{session: &session{Mirror: h.mirror, docker: d}, unknown: map[string]time.Time{}, failed: map[string]string{}}
	now := time.Now()
	look := func(after time.Duration) bool {
		t.Helper()
		now = now.Add(after)
		left, err := take.look(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		return take.settle(t.Context(), left, now)
	}

	for range 100 {
		if look(time.Second) {
			t.Fatal("it is over although the store has not answered")
		}
	}
	c.change(func() { h.records.away = false })
	if look(time.Second) {
		t.Error("it is over although a network is not attached")
	}
	if _, known := h.records.endpoint("e1"); known {
		t.Error("an endpoint was recorded in a network that is not")
	}
	if err := h.records.Attach(t.Context(), id, "w1"); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	delete(h.boxes, "cc2")
	h.mu.Unlock()
	look(time.Second)
	e, _ := h.records.endpoint("e1")
	if e.Sandbox != "/var/run/docker/netns/cc1" || e.Name != "c1" || e.MAC.String() != "02:00:00:00:00:09" ||
		len(e.Addrs) != 1 || e.Addrs[0].String() != "10.1.0.2" || e.Network != "w1" || e.Phase != overlay.Joined {
		t.Errorf("the endpoint was recorded as %+v", e)
	}
	h.runs(id, "new", "c4", "cc4", "10.1.0.4") // which the driver is about to be told of
	if look(time.Second) {
		t.Error("it is over although an endpoint is unknown")
	}
	if _, known := h.records.endpoint("new"); known {
		t.Error("an endpoint was taken over at first sight")
	}
	h.records.join(id, "new", now)
	if look(time.Second) || look(2*rebuildFor) {
		t.Error("it is over although a container runs in a network that nobody knows")
	}
	h.mu.Lock()
	delete(h.boxes, "cc3")
	h.mu.Unlock()
	if !look(time.Second) {
		t.Error("it is not over although all is known")
	}
	if lost, _ := h.records.Rebuilding(); lost {
		t.Error("the registry was not told")
	}
	for _, id := range []string{"short", "e3"} {
		if _, known := h.records.endpoint(id); known {
			t.Errorf("endpoint %q was recorded", id)
		}
	}
}

// What cannot be taken over does not keep the host waiting for ever.
func TestTakeoverIsBounded(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	id, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	c.change(func() { h.records.lost = true })
	h.runs(id, "e1", "c1", "cc1", "no address")
	take := &takeover{session: &session{Mirror: h.mirror}, unknown: map[string]time.Time{}, failed: map[string]string{}}
	now := time.Now()
	if take.settle(t.Context(), []string{"endpoint e1"}, now) {
		t.Error("it gave up at once")
	}
	if !take.settle(t.Context(), []string{"endpoint e1"}, now.Add(rebuildFor)) {
		t.Error("it did not give up")
	}
}
