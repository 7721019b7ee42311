package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

// crowd records that many endpoints of the network in m's state, as a process that knows
// no limit, and starts m anew with them.
func (m *machine) crowd(cluster kvstore.Store, network string, count int) {
	m.t.Helper()
	m.stop()
	var ops []kvstore.Op
	for i := range count {
		e := endpoint(fmt.Sprintf("old%d", i), network, fmt.Sprintf("10.1.%d.%d", i/256, i%256))
		e.Phase = overlay.Created
		op, err := record.Put(record.StateEndpoint+e.ID, e)
		m.do("encode", err)
		ops = append(ops, op)
	}
	m.do("record", kvstore.Record(m.t.Context(), m.state, ops...))
	m.start(cluster)
}

// A host refuses an endpoint for which a network's bridge has no port, and nothing of it
// is left; where there is room, and in other networks, all goes on.
func TestAnEndpointBeyondABridgeIsRefused(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	m := newMachine(t, "h1", cluster)
	n := m.create("d1", want(subnetA))
	m.crowd(cluster, n.ID, overlay.MostPorts)

	comes := endpoint("comes", n.ID, "10.1.100.1")
	err := m.CreateEndpoint(t.Context(), comes)
	if err == nil || !strings.Contains(err.Error(), "1021 containers on host h1") {
		t.Fatalf("one more than there are ports: %v", err)
	}
	if _, known := m.Endpoint("comes"); known {
		t.Error("the refused endpoint is recorded")
	}
	if pairs, _, err := m.state.List(t.Context(), record.StateEndpoint+"comes"); err != nil || len(pairs) > 0 {
		t.Errorf("in the state there is %v, %v", pairs, err)
	}
	m.do("the same again", m.CreateEndpoint(t.Context(), endpoint("old0", n.ID, "10.1.0.0")))
	other := m.create("d2", want(subnetB))
	m.join("elsewhere", other.ID, "10.2.0.2")
	m.do("delete", m.DeleteEndpoint(t.Context(), "old7"))
	m.join("comes", n.ID, "10.1.100.1")
}

// Records of more endpoints than a bridge has ports stay. Those that came first can be
// joined; the others are refused until there is room.
func TestWhatWasRecordedBeyondABridgeIsNotJoined(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	m := newMachine(t, "h1", cluster)
	n := m.create("d1", want(subnetA))
	m.crowd(cluster, n.ID, overlay.MostPorts+1)
	_, beyond := overlay.Ported(m.Snapshot().Local)
	if len(beyond) != 1 {
		t.Fatalf("beyond are %v", beyond)
	}
	last := beyond[0].ID
	first := m.Snapshot().Local[slices.IndexFunc(m.Snapshot().Local, func(e overlay.Endpoint) bool { return e.ID != last })].ID
	_, err := m.Join(t.Context(), last, "/run/sandbox/last")
	if err == nil || !strings.Contains(err.Error(), "1021 containers on host h1") {
		t.Errorf("one more than there are ports: %v", err)
	}
	if e, _ := m.Endpoint(last); e.Phase != overlay.Created {
		t.Errorf("the refused endpoint is %s", e.Phase)
	}
	_, err = m.Join(t.Context(), first, "/run/sandbox/first")
	m.do("join the first", err)
	m.do("delete the first", m.DeleteEndpoint(t.Context(), first))
	_, err = m.Join(t.Context(), last, "/run/sandbox/last")
	m.do("join the last", err)
}
