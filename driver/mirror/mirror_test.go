package mirror

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/overlay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is one Docker host with its mirror.
type host struct {
	*dockerd
	records *records
	mirror  *Mirror
	log     *test.Hook
}

// newHost makes a host whose mirror runs until the test ends.
func newHost(t *testing.T, c *cluster, name string) *host {
	t.Helper()
	log, hook := test.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	h := &host{records: c.add(name), log: hook}
	h.dockerd = newDockerd(t, h.records)
	h.mirror = New(Config{Registry: h.records, Host: h.host(), Driver: "weft", IPAM: "weft", Log: log})
	return h
}

// run starts the mirror.
func (h *host) run(t *testing.T) *host {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.mirror.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return h
}

func (h *host) up(t *testing.T) *host {
	t.Helper()
	h.start(t)
	h.run(t)
	eventually(t, "connected", func() bool { return h.mirror.Status().Connected })
	return h
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

func (h *host) lines(level logrus.Level) []string {
	var out []string
	for _, e := range h.log.AllEntries() {
		if e.Level == level {
			out = append(out, e.Message)
		}
	}
	return out
}

func request(name string, options map[string]string) network.CreateRequest {
	return network.CreateRequest{Name: name, CreateOptions: network.CreateOptions{
		Driver: "weft", Attachable: true, Labels: map[string]string{"l": "v"}, Options: options,
	}}
}

func TestNetworkAppearsOnOtherHost(t *testing.T) {
	for _, version := range []string{"1.41", "1.44", "1.52"} { // Docker 20.10, 25, 29
		t.Run(version, func(t *testing.T) { testNetworkAppearsOnOtherHost(t, version) })
	}
}

func testNetworkAppearsOnOtherHost(t *testing.T, version string) {
	t.Helper()
	c := newCluster()
	h1, h2 := newHost(t, c, "h1"), newHost(t, c, "h2")
	h1.version, h2.version = version, version
	h1.up(t)
	h2.up(t)
	began := time.Now()
	id, err := h1.make(request("a", map[string]string{"k": "v"}))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "network on h2", func() bool { return len(h2.byName("a")) == 1 })
	t.Logf("mirrored in %s", time.Since(began))
	got := h2.byName("a")[0]
	if got.Options[idOption] != "w1" || got.Options["k"] != "v" || got.IPAM.Options[idOption] != "w1" || got.IPAM.Driver != "weft" ||
		!got.Attachable || got.Labels["l"] != "v" || got.IPAM.Config[0].Subnet != "10.1.0.0/16" {
		t.Errorf("mirrored as %+v", got)
	}

	if code := h1.unmake(id); code != http.StatusNoContent {
		t.Fatalf("network rm: %d", code)
	}
	eventually(t, "network gone from h2", func() bool { return len(h2.byName("a")) == 0 })
}

func TestBurstOfNetworks(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	names := strings.Split("abcdefghijklmnopqrst", "")
	for _, name := range names {
		if _, err := h1.make(request(name, nil)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		eventually(t, name+" on h2", func() bool { return len(h2.byName(name)) == 1 })
	}
	if n := h2.count("GET /networks"); n > 3*len(names) {
		t.Errorf("h2's Docker was asked for its networks %d times for %d networks", n, len(names))
	}
}

func TestTwoHostsCreateOneName(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1"), newHost(t, c, "h2")
	for _, h := range []*host{h1, h2} {
		if _, err := h.make(request("a", nil)); err != nil {
			t.Fatal(err)
		}
	}
	h1.up(t)
	h2.up(t)
	eventually(t, "one network", func() bool {
		one, other := h1.byName("a"), h2.byName("a")
		if len(one) != 1 || len(other) != 1 {
			return false
		}
		a, b := h1.records.DockerIDs()[one[0].ID], h2.records.DockerIDs()[other[0].ID]
		return a != "" && a == b
	})
	eventually(t, "the loser's log says who won", func() bool {
		return len(h1.lines(logrus.WarnLevel))+len(h2.lines(logrus.WarnLevel)) == 1
	})
}

func TestLoserInUseIsAConflict(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1"), newHost(t, c, "h2")
	if _, err := h1.make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	id, err := h2.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	h2.show(id, "e1", "c1")
	h1.up(t)
	eventually(t, "h1's name", func() bool { n, _ := h1.records.OfDocker(h1.byName("a")[0].ID); return n.Name == "a" })
	h2.up(t)
	eventually(t, "conflict", func() bool { return strings.Contains(h2.mirror.Status().Conflicts["a"].Text, "created on host h1") })
	h2.show(id, "e1", "")
	h2.send(events.Message{Type: "network", Action: "disconnect", Actor: events.Actor{ID: id}})
	eventually(t, "the winner on h2", func() bool {
		n := h2.byName("a")
		return len(n) == 1 && h2.records.DockerIDs()[n[0].ID] == "w1"
	})
	eventually(t, "no conflict", func() bool { return len(h2.mirror.Status().Conflicts) == 0 })
}

func TestForeignNetworkIsAConflictAndStays(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	foreign, err := h2.make(network.CreateRequest{Name: "a", CreateOptions: network.CreateOptions{Driver: "bridge"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h1.make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "conflict", func() bool { return strings.Contains(h2.mirror.Status().Conflicts["a"].Text, `driver "bridge"`) })
	if h2.count("POST /networks/create") != 0 || h2.count("DELETE /networks/{id}") != 0 {
		t.Error("Docker was asked to create or to remove")
	}
	h2.unmake(foreign)
	eventually(t, "network on h2", func() bool { return len(h2.byName("a")) == 1 && h2.byName("a")[0].Driver == "weft" })
}

func TestTwinsOfOneHost(t *testing.T) { // Docker 20.10 lets two networks have one name
	c := newCluster()
	h := newHost(t, c, "h1")
	h.twins = true
	first, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	h.up(t)
	eventually(t, "the older one only", func() bool { n := h.byName("a"); return len(n) == 1 && n[0].ID == first })
}

func TestRemovedWhileUsedElsewhereComesBack(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	first, err := h1.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "network on h2", func() bool { return len(h2.byName("a")) == 1 })
	h2.records.join(h2.byName("a")[0].ID, "e1", time.Now())
	h1.unmake(first)
	eventually(t, "network back on h1", func() bool { n := h1.byName("a"); return len(n) == 1 && n[0].ID != first })
}

func TestNameOfAPendingRemovalIsWaitedFor(t *testing.T) { // network rm and create in one breath
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	first, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "name", func() bool { n, _ := h.records.OfDocker(first); return n.Name == "a" })
	h.records.change(func() { h.records.pending["w1"] = true; delete(h.records.docker, first) })
	h.mu.Lock()
	delete(h.networks, first)
	h.mu.Unlock()
	second, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if len(h.byName("a")) != 1 || len(h.mirror.Status().Conflicts) != 0 {
		t.Fatalf("the new network was not left alone: %v", h.mirror.Status().Conflicts)
	}
	c.change(func() { c.networks["w1"] = gone(c.networks["w1"]) })
	eventually(t, "second is named", func() bool { n, _ := h.records.OfDocker(second); return n.Name == "a" })
}

func TestStoreAwayIsToldAndRetried(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	c.change(func() { h.records.deaf = errors.New("store unavailable") })
	id, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "conflict", func() bool { return strings.Contains(h.mirror.Status().Conflicts["a"].Text, "store unavailable") })
	c.change(func() { h.records.deaf = nil })
	eventually(t, "name", func() bool { n, _ := h.records.OfDocker(id); return n.Name == "a" })
}

func TestFailingCreateIsToldAndNotHammered(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	c.change(func() { h2.records.broken = errors.New("no kernel for that") })
	if _, err := h1.make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "conflict", func() bool { return strings.Contains(h2.mirror.Status().Conflicts["a"].Text, "no kernel for that") })
	time.Sleep(time.Second)
	if n := h2.count("POST /networks/create"); n > 8 {
		t.Errorf("Docker was asked %d times within a second", n)
	}
	c.change(func() { h2.records.broken = nil })
	h2.send(events.Message{Type: "network", Action: "destroy"})
	eventually(t, "network on h2", func() bool { return len(h2.byName("a")) == 1 })
}

func TestSocketAbsentThenThere(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").run(t)
	eventually(t, "a reason", func() bool { return h.mirror.Status().Error != "" })
	time.Sleep(200 * time.Millisecond)
	if n := len(h.log.AllEntries()); n != 1 {
		t.Errorf("%d log lines while Docker is absent, want 1", n)
	}
	if _, err := h.make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	h.start(t)
	eventually(t, "name", func() bool { return len(h.records.Networks()) == 1 && h.records.Networks()[0].Name == "a" })
	if s := h.mirror.Status(); !s.Connected || s.Error != "" || s.Since.IsZero() {
		t.Errorf("status %+v", s)
	}
}

func TestDockerRestarts(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	h2.stop()
	eventually(t, "h2 noticed", func() bool { return !h2.mirror.Status().Connected })
	if _, err := h1.make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "name", func() bool { return len(h1.records.Networks()) == 1 && h1.records.Networks()[0].Name == "a" })
	h2.start(t)
	eventually(t, "network on h2", func() bool { return len(h2.byName("a")) == 1 })
}

func TestDockerIsReplacedByAnOlderVersion(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1")
	h.version = "1.51"
	h.up(t)
	h.stop()
	h.version = "1.41"
	h.start(t)
	if _, err := h.make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "name", func() bool { return h.records.Networks()[0].Name == "a" })
}

func TestSlowDockerHoldsNothingUp(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	slow := make(chan struct{})
	h.setSlow(slow)
	done := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { h.setSlow(nil); close(slow) }) }
	defer release()
	go func() { // a driver's calls
		defer close(done)
		_, _ = h.make(request("a", nil))
		h.records.join(h.byName("a")[0].ID, "e1", time.Now())
		_ = h.mirror.Status()
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
		t.Error("a driver call waited for Docker")
	}
	release()
	eventually(t, "name", func() bool { return len(h.records.Networks()) == 1 && h.records.Networks()[0].Name == "a" })
}

func TestContainersGetTheirNames(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	id, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) func() bool {
		return func() bool { e, _ := h.records.endpoint("e1"); return e.Name == name }
	}
	h.show(id, "e1", "c1")
	h.records.join(id, "e1", time.Now())
	eventually(t, "name at join, before any event", named("c1"))

	const long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	names := func(want ...string) func() bool {
		return func() bool { e, _ := h.records.endpoint("e1"); return slices.Equal(e.Names, want) }
	}
	h.records.join(id, "e2", time.Now())
	busy := make(chan struct{})
	h.mu.Lock()
	h.busy = busy
	h.mu.Unlock()
	h.started(id, "e1", "c1", long, "box", "db", "c1", long[:12])
	time.Sleep(100 * time.Millisecond) // Docker is still at it
	h.show(id, "e2", "other")
	eventually(t, "nobody else waits for it", func() bool { e, _ := h.records.endpoint("e2"); return e.Name == "other" })
	close(busy)
	eventually(t, "all names", names("c1", "db", long[:12], "box"))
	if err := h.records.DeleteEndpoint(t.Context(), "e2"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)

	inspects := h.count("GET /networks/{id}")
	for range 20 {
		h.send(events.Message{Type: "network", Action: "connect", Actor: events.Actor{ID: id}})
		c.change(func() {})
	}
	h.started(id, "e1", "c2", long, "box", "db", long[:12])
	h.send(events.Message{Type: "container", Action: "rename", Actor: events.Actor{Attributes: map[string]string{"oldName": "/c1", "name": "/c2"}}})
	eventually(t, "new name", names("c2", "db", long[:12], "box"))
	if n := h.count("GET /networks/{id}") - inspects; n != 1 {
		t.Errorf("Docker was asked about the network %d times for a rename, want 1", n)
	}

	h.records.join(id, "e3", time.Now())
	time.Sleep(100 * time.Millisecond)
	h.show(id, "e3", "c3") // Docker shows it a moment later
	eventually(t, "late name", func() bool { e, _ := h.records.endpoint("e3"); return e.Name == "c3" })
}

func TestEndpointsThatDockerLostAreForgotten(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1")
	id, err := h.make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	h.records.join(id, "lost", old)
	h.records.join(id, "young", time.Now())
	h.records.join(id, "stopped", time.Now()) // and weft could not record that
	h.records.join(id, "there", old)
	h.show(id, "there", "c1")
	h.records.join(id, "starting", time.Now())
	h.records.join(id, "unstarted", old) // weft was killed between CreateEndpoint and Join
	c.change(func() {
		for _, id := range []string{"starting", "unstarted"} {
			e := h.records.endpoints[id]
			e.Phase = overlay.Created
			h.records.endpoints[id] = e
		}
		e := h.records.endpoints["stopped"]
		e.Name = "c0"
		h.records.endpoints["stopped"] = e
	})

	log, _ := test.NewNullLogger()
	h.start(t)
	d, err := dial(t.Context(), h.host())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	n := newNames(h.records, d, log)
	n.look(t.Context())
	n.look(t.Context())
	if _, ok := h.records.endpoint("lost"); !ok {
		t.Error("an endpoint was forgotten that was missing for a moment only")
	}
	for id := range n.missing {
		n.missing[id] = time.Now().Add(-missingFor)
	}
	n.look(t.Context())
	for _, id := range []string{"lost", "unstarted", "stopped"} {
		if _, ok := h.records.endpoint(id); ok {
			t.Errorf("endpoint %q, which Docker does not have, is still there", id)
		}
	}
	for _, id := range []string{"young", "there", "starting"} {
		if _, ok := h.records.endpoint(id); !ok {
			t.Errorf("endpoint %q is gone", id)
		}
	}
}
