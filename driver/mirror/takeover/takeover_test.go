package takeover

import (
	"context"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/mirror/enginetest"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// records are those of a host in a cluster with network w1, which is called a.
type records struct {
	docker    map[string]string           // Docker's network id → weft's
	endpoints map[string]overlay.Endpoint // by id
	lost      bool                        // see Rebuilding
	away      bool                        // the store
}

func (r *records) Inventory() registry.Inventory {
	a := overlay.Network{ID: "w1", Name: "a"}
	v := registry.Inventory{Live: []overlay.Network{a}, Docker: map[string]registry.InDocker{}, Lost: r.lost}
	for docker := range r.docker {
		v.Docker[docker] = registry.InDocker{Network: a}
	}
	return v
}

func (r *records) Snapshot() overlay.Snapshot {
	var s overlay.Snapshot
	for _, e := range r.endpoints {
		s.Local = append(s.Local, e)
	}
	return s
}

func (r *records) Rebuilding() (lost, ready bool) { return r.lost, !r.away }

func (r *records) Adopt(_ context.Context, e overlay.Endpoint) error {
	e.Phase = overlay.Joined
	r.endpoints[e.ID] = e
	return nil
}

func (r *records) Rebuilt(context.Context) error {
	r.lost = false
	return nil
}

// anyNetwork lets Docker make every network.
type anyNetwork struct{}

func (anyNetwork) CreateNetwork(string, network.CreateRequest) error { return nil }
func (anyNetwork) DeleteNetwork(string)                              {}

func made(t *testing.T, d *enginetest.Dockerd, name string) (id string) {
	t.Helper()
	id, err := d.Make(network.CreateRequest{Name: name, CreateOptions: network.CreateOptions{Driver: "weft"}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A host that has lost its state takes over the networks and the containers'
// endpoints that its Docker has, and says so when that is done.
func TestLostRecordsAreTakenOver(t *testing.T) {
	daemon := enginetest.New(t, anyNetwork{})
	id, foreign := made(t, daemon, "a"), made(t, daemon, "unknown")
	daemon.Start(t)
	d, err := engine.Dial(t.Context(), daemon.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r := &records{docker: map[string]string{}, endpoints: map[string]overlay.Endpoint{}, lost: true, away: true}
	daemon.Runs(id, "e1", "c1", "cc1", "10.1.0.2")
	daemon.Runs(id, "short", "c2", "cc2", "10.1.0.3")
	daemon.Runs(foreign, "e3", "c3", "cc3", "10.9.0.3")
	log, _ := test.NewNullLogger()
	take := begin(Config{Registry: r, Docker: d, Driver: "weft", Log: log})
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
	r.away = false
	if look(time.Second) {
		t.Error("it is over although a network is not attached")
	}
	if _, known := r.endpoints["e1"]; known {
		t.Error("an endpoint was recorded in a network that is not")
	}
	r.docker[id] = "w1"
	daemon.Remove("cc2")
	look(time.Second)
	e := r.endpoints["e1"]
	if e.Sandbox != "/var/run/docker/netns/cc1" || e.Name != "c1" || e.MAC.String() != "02:00:00:00:00:09" ||
		len(e.Addrs) != 1 || e.Addrs[0].String() != "10.1.0.2" || e.Network != "w1" || e.Phase != overlay.Joined {
		t.Errorf("the endpoint was recorded as %+v", e)
	}
	daemon.Runs(id, "new", "c4", "cc4", "10.1.0.4") // which the driver is about to be told of
	if look(time.Second) {
		t.Error("it is over although an endpoint is unknown")
	}
	if _, known := r.endpoints["new"]; known {
		t.Error("an endpoint was taken over at first sight")
	}
	r.endpoints["new"] = overlay.Endpoint{ID: "new", Network: "w1"}
	if look(time.Second) || look(2*rebuildFor) {
		t.Error("it is over although a container runs in a network that nobody knows")
	}
	daemon.Remove("cc3")
	if !look(time.Second) {
		t.Error("it is not over although all is known")
	}
	if r.lost {
		t.Error("the registry was not told")
	}
	for _, id := range []string{"short", "e3"} {
		if _, known := r.endpoints[id]; known {
			t.Errorf("endpoint %q was recorded", id)
		}
	}
}

// What cannot be taken over does not keep the host waiting for ever.
func TestTakeoverIsBounded(t *testing.T) {
	log, _ := test.NewNullLogger()
	take := begin(Config{Registry: &records{lost: true}, Driver: "weft", Log: log})
	take.failed["e1"] = "Docker shows no address of it"
	now := time.Now()
	if take.settle(t.Context(), []string{"endpoint e1"}, now) {
		t.Error("it gave up at once")
	}
	if !take.settle(t.Context(), []string{"endpoint e1"}, now.Add(rebuildFor)) {
		t.Error("it did not give up")
	}
}
