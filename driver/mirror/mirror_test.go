package mirror

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/mirror/enginetest"
	"github.com/weft-net/weft/driver/option"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is one Docker host with its mirror.
type host struct {
	*enginetest.Dockerd
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
	h.Dockerd = enginetest.New(t, h.records)
	h.mirror = New(Config{Registry: h.records, Host: h.Host(), Driver: "weft", IPAM: "weft", Log: log})
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
	h.Start(t)
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
	h1.Version, h2.Version = version, version
	h1.up(t)
	h2.up(t)
	began := time.Now()
	id, err := h1.Make(request("a", map[string]string{"k": "v"}))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "network on h2", func() bool { return len(h2.ByName("a")) == 1 })
	t.Logf("mirrored in %s", time.Since(began))
	got := h2.ByName("a")[0]
	if got.Options[option.ID] != "w1" || got.Options["k"] != "v" || got.IPAM.Options[option.ID] != "w1" || got.IPAM.Driver != "weft" ||
		!got.Attachable || got.Labels["l"] != "v" || got.IPAM.Config[0].Subnet != "10.1.0.0/16" {
		t.Errorf("mirrored as %+v", got)
	}

	if code := h1.Unmake(id); code != http.StatusNoContent {
		t.Fatalf("network rm: %d", code)
	}
	eventually(t, "network gone from h2", func() bool { return len(h2.ByName("a")) == 0 })
}

func TestBurstOfNetworks(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	names := strings.Split("abcdefghijklmnopqrst", "")
	for _, name := range names {
		if _, err := h1.Make(request(name, nil)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		eventually(t, name+" on h2", func() bool { return len(h2.ByName(name)) == 1 })
	}
	if n := h2.Count("GET /networks"); n > 3*len(names) {
		t.Errorf("h2's Docker was asked for its networks %d times for %d networks", n, len(names))
	}
}

func TestTwoHostsCreateOneName(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1"), newHost(t, c, "h2")
	for _, h := range []*host{h1, h2} {
		if _, err := h.Make(request("a", nil)); err != nil {
			t.Fatal(err)
		}
	}
	h1.up(t)
	h2.up(t)
	eventually(t, "one network", func() bool {
		one, other := h1.ByName("a"), h2.ByName("a")
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
	if _, err := h1.Make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	id, err := h2.Make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	h2.Show(id, "e1", "c1")
	h1.up(t)
	eventually(t, "h1's name", func() bool { n, _ := h1.records.OfDocker(h1.ByName("a")[0].ID); return n.Name == "a" })
	h2.up(t)
	eventually(t, "conflict", func() bool { return strings.Contains(h2.mirror.Status().Conflicts["a"].Text, "created on host h1") })
	h2.Show(id, "e1", "")
	h2.Send(events.Message{Type: "network", Action: "disconnect", Actor: events.Actor{ID: id}})
	eventually(t, "the winner on h2", func() bool {
		n := h2.ByName("a")
		return len(n) == 1 && h2.records.DockerIDs()[n[0].ID] == "w1"
	})
	eventually(t, "no conflict", func() bool { return len(h2.mirror.Status().Conflicts) == 0 })
}

func TestForeignNetworkIsAConflictAndStays(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	foreign, err := h2.Make(network.CreateRequest{Name: "a", CreateOptions: network.CreateOptions{Driver: "bridge"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h1.Make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "conflict", func() bool { return strings.Contains(h2.mirror.Status().Conflicts["a"].Text, `driver "bridge"`) })
	if h2.Count("POST /networks/create") != 0 || h2.Count("DELETE /networks/{id}") != 0 {
		t.Error("Docker was asked to create or to remove")
	}
	h2.Unmake(foreign)
	eventually(t, "network on h2", func() bool { return len(h2.ByName("a")) == 1 && h2.ByName("a")[0].Driver == "weft" })
}

func TestTwinsOfOneHost(t *testing.T) { // Docker 20.10 lets two networks have one name
	c := newCluster()
	h := newHost(t, c, "h1")
	h.Twins = true
	first, err := h.Make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	h.up(t)
	eventually(t, "the older one only", func() bool { n := h.ByName("a"); return len(n) == 1 && n[0].ID == first })
}

func TestRemovedWhileUsedElsewhereComesBack(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	first, err := h1.Make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "network on h2", func() bool { return len(h2.ByName("a")) == 1 })
	h2.records.join(h2.ByName("a")[0].ID, "e1", time.Now())
	h1.Unmake(first)
	eventually(t, "network back on h1", func() bool { n := h1.ByName("a"); return len(n) == 1 && n[0].ID != first })
}

func TestNameOfAPendingRemovalIsWaitedFor(t *testing.T) { // network rm and create in one breath
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	first, err := h.Make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "name", func() bool { n, _ := h.records.OfDocker(first); return n.Name == "a" })
	h.records.change(func() { h.records.pending["w1"] = true; delete(h.records.docker, first) })
	h.Drop(first)
	second, err := h.Make(request("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if len(h.ByName("a")) != 1 || len(h.mirror.Status().Conflicts) != 0 {
		t.Fatalf("the new network was not left alone: %v", h.mirror.Status().Conflicts)
	}
	c.change(func() { c.networks["w1"] = gone(c.networks["w1"]) })
	eventually(t, "second is named", func() bool { n, _ := h.records.OfDocker(second); return n.Name == "a" })
}

func TestStoreAwayIsToldAndRetried(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	c.change(func() { h.records.deaf = errors.New("store unavailable") })
	id, err := h.Make(request("a", nil))
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
	if _, err := h1.Make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "conflict", func() bool { return strings.Contains(h2.mirror.Status().Conflicts["a"].Text, "no kernel for that") })
	time.Sleep(time.Second)
	if n := h2.Count("POST /networks/create"); n > 8 {
		t.Errorf("Docker was asked %d times within a second", n)
	}
	c.change(func() { h2.records.broken = nil })
	h2.Send(events.Message{Type: "network", Action: "destroy"})
	eventually(t, "network on h2", func() bool { return len(h2.ByName("a")) == 1 })
}

func TestSocketAbsentThenThere(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").run(t)
	eventually(t, "a reason", func() bool { return h.mirror.Status().Error != "" })
	time.Sleep(200 * time.Millisecond)
	if n := len(h.log.AllEntries()); n != 1 {
		t.Errorf("%d log lines while Docker is absent, want 1", n)
	}
	if _, err := h.Make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	h.Start(t)
	eventually(t, "name", func() bool { return len(h.records.Networks()) == 1 && h.records.Networks()[0].Name == "a" })
	if s := h.mirror.Status(); !s.Connected || s.Error != "" || s.Since.IsZero() {
		t.Errorf("status %+v", s)
	}
}

func TestDockerRestarts(t *testing.T) {
	c := newCluster()
	h1, h2 := newHost(t, c, "h1").up(t), newHost(t, c, "h2").up(t)
	h2.Stop()
	eventually(t, "h2 noticed", func() bool { return !h2.mirror.Status().Connected })
	if _, err := h1.Make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "name", func() bool { return len(h1.records.Networks()) == 1 && h1.records.Networks()[0].Name == "a" })
	h2.Start(t)
	eventually(t, "network on h2", func() bool { return len(h2.ByName("a")) == 1 })
}

func TestDockerIsReplacedByAnOlderVersion(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1")
	h.Version = "1.51"
	h.up(t)
	h.Stop()
	h.Version = "1.41"
	h.Start(t)
	if _, err := h.Make(request("a", nil)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "name", func() bool { return h.records.Networks()[0].Name == "a" })
}

func TestSlowDockerHoldsNothingUp(t *testing.T) {
	c := newCluster()
	h := newHost(t, c, "h1").up(t)
	slow := make(chan struct{})
	h.SetSlow(slow)
	done := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { h.SetSlow(nil); close(slow) }) }
	defer release()
	go func() { // a driver's calls
		defer close(done)
		_, _ = h.Make(request("a", nil))
		h.records.join(h.ByName("a")[0].ID, "e1", time.Now())
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
