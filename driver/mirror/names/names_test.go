package names

import (
	"context"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// records are this host's endpoints, by id, in network a.
type records map[string]overlay.Endpoint

func (r records) join(id string, created time.Time) {
	r[id] = overlay.Endpoint{ID: id, Network: "a", Phase: overlay.Joined, Created: created}
}

func (r records) Snapshot() overlay.Snapshot {
	var s overlay.Snapshot
	for _, e := range r {
		s.Local = append(s.Local, e)
	}
	return s
}

func (r records) Inventory() registry.Inventory {
	return registry.Inventory{Docker: map[string]registry.InDocker{"docker's a": {Network: overlay.Network{ID: "a"}}}}
}

func (r records) Changes() (<-chan struct{}, func()) { return nil, func() {} }

func (r records) NameEndpoint(_ context.Context, id string, names []string) error {
	e := r[id]
	e.Name, e.Names = names[0], names
	r[id] = e
	return nil
}

func (r records) DeleteEndpoint(_ context.Context, id string) error {
	delete(r, id)
	return nil
}

// shows is a Docker whose networks all show these endpoints.
type shows map[string]engine.Shown

func (s shows) Endpoints(context.Context, string) (map[string]engine.Shown, bool, error) {
	return s, true, nil
}
func (shows) Names(context.Context, string, string) ([]string, error)          { return nil, nil }
func (shows) NamesBefore(context.Context, string) (map[string][]string, error) { return nil, nil }
func (shows) Disconnect(context.Context, string, string) error                 { return nil }

func TestEndpointsThatDockerLostAreForgotten(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	r := records{}
	r.join("lost", old)
	r.join("young", time.Now())
	r.join("stopped", time.Now()) // and weft could not record that
	r.join("there", old)
	docker := shows{"there": {Name: "c1"}}
	r.join("starting", time.Now())
	r.join("unstarted", old) // weft was killed between CreateEndpoint and Join
	for _, id := range []string{"starting", "unstarted"} {
		e := r[id]
		e.Phase = overlay.Created
		r[id] = e
	}
	e := r["stopped"]
	e.Name = "c0"
	r["stopped"] = e

	log, _ := test.NewNullLogger()
	n := New(r, docker, nil, log)
	n.look(t.Context())
	n.look(t.Context())
	if _, ok := r["lost"]; !ok {
		t.Error("an endpoint was forgotten that was missing for a moment only")
	}
	for id := range n.missing {
		n.missing[id] = time.Now().Add(-missingFor)
	}
	n.look(t.Context())
	for _, id := range []string{"lost", "unstarted", "stopped"} {
		if _, ok := r[id]; ok {
			t.Errorf("endpoint %q, which Docker does not have, is still there", id)
		}
	}
	for _, id := range []string{"young", "there", "starting"} {
		if _, ok := r[id]; !ok {
			t.Errorf("endpoint %q is gone", id)
		}
	}
}
