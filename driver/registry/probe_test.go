package registry_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/registrytest"
)

func TestProbe(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "h2 knows h1", func() bool { return len(h2.HostStates()) == 1 })
	if h1.Probing() || h2.Probing() {
		t.Fatal("nobody has asked")
	}
	first := h1.Probe()
	if !h1.Probing() {
		t.Error("who asks does not take part")
	}
	eventually(t, "h2 takes part", func() bool { return h2.Probing() })

	// What was asked before a host's weft began is nothing to it.
	h2.stop()
	second := h1.Probe()
	if second <= first {
		t.Errorf("request %d comes after %d", second, first)
	}
	eventually(t, "the request is in the store", func() bool {
		p, err := cluster.Get(t.Context(), "host/h1/doc")
		return err == nil && strings.Contains(string(p.Value), fmt.Sprintf(`"probe":%d`, second))
	})
	h2.start(cluster)
	eventually(t, "h2 has read the store", func() bool {
		_, ready := h2.Rebuilding()
		return ready
	})
	time.Sleep(100 * time.Millisecond)
	if h2.Probing() {
		t.Error("an old request began a probe")
	}
	h1.Probe()
	eventually(t, "h2 takes part in a new one", h2.Probing)
}

func TestProbeEndsWithTheAnswer(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "they know each other", func() bool { return len(h1.HostStates()) == 1 && len(h2.HostStates()) == 1 })
	one, two := h1.Probe(), h2.Probe()
	both := map[string]uint64{"h1": one, "h2": two}
	eventually(t, "both requests are everywhere", func() bool {
		return maps.Equal(h1.Snapshot().Probes, both) && maps.Equal(h2.Snapshot().Probes, both)
	})
	h1.Probed(one)
	eventually(t, "only the other is left", func() bool { return len(h2.Snapshot().Probes) == 1 && h2.Probing() })
	h2.Probed(two)
	eventually(t, "none is left", func() bool { return !h1.Probing() && !h2.Probing() })
	h1.Probed(h1.Probe() - 1)
	if !h1.Probing() {
		t.Error("an older answer ended a request")
	}
}

// A request comes by push too, while the store is away.
func TestProbeByBeat(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "h2 knows h1", func() bool { return len(h2.HostStates()) == 1 })
	beat := peers.Beat{Host: "h1", Incarnation: h1.Self().Incarnation, Number: h1.Direct().Runs()<<32 + 1, Probe: 5}
	h2.Direct().Heard(beat)
	if h2.Probing() {
		t.Error("the first beat brought an old request")
	}
	beat.Number++
	h2.Direct().Heard(beat)
	if h2.Probing() {
		t.Error("a request was taken twice")
	}
	beat.Number, beat.Probe = beat.Number+1, 7
	h2.Direct().Heard(beat)
	if !h2.Probing() {
		t.Error("a new request began no probe")
	}
}
