package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// publish writes the records of a host with the networks, as it does itself.
func publish(t *testing.T, cluster kvstore.Store, n int, networks []string) {
	t.Helper()
	name := fmt.Sprintf("h%d", n)
	host := record.HostDoc{
		Host:    overlay.Host{Name: name, Incarnation: "i", VTEP: netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), MTU: 1500},
		Digests: map[string]string{}, Seq: uint64(len(networks)),
	}
	var ops []kvstore.Op
	for i, network := range networks {
		op, err := record.Put(record.AttachmentKey(name, network), overlay.Attachment{Network: network, Host: name, Incarnation: "i", Seq: uint64(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		host.Digests[network] = record.Digest(op.Value)
		ops = append(ops, op)
	}
	value, err := json.Marshal(host)
	if err != nil {
		t.Fatal(err)
	}
	ops = append(ops, kvstore.Op{Kind: kvstore.Set, Key: record.HostKey(name), Value: value})
	for batch := range kvstore.Batches(ops) {
		if _, err := cluster.Txn(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
}

// flaky fails requests for documents, and counts the others.
type flaky struct {
	kvstore.Store

	mu       sync.Mutex
	fails    func(nth int) bool
	asked    int
	answered map[string]int // by method and key
}

func newFlaky(under kvstore.Store, fails func(nth int) bool) *flaky {
	f := &flaky{fails: fails, answered: map[string]int{}}
	f.Store = kvtest.Before(under, func(_ context.Context, r kvtest.Request) error {
		if !strings.HasPrefix(r.Key, "at/h") || strings.HasPrefix(r.Key, "at/h1/") || r.Method == kvtest.Wait {
			return nil
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked++
		if f.fails(f.asked) {
			return fmt.Errorf("%s %s: %w", r.Method, r.Key, kvstore.ErrUnavailable)
		}
		f.answered[string(r.Method)+" "+r.Key]++
		return nil
	})
	return f
}

// knowsAll says whether the machine has a document of each of the hosts from h2 on for each
// of the networks.
func (m *machine) knowsAll(hosts int, networks []string) bool {
	for n := range hosts {
		for _, network := range networks {
			if _, ok := m.Direct().PeerAttachment(fmt.Sprintf("h%d", n+2), network); !ok {
				return false
			}
		}
	}
	return true
}

// Of a few documents of each of many hosts some requests fail, more in each reading than
// a reading may have. What was read is kept, and only what is missing is asked for again.
func TestRequestsForDocumentsMayFail(t *testing.T) {
	const hosts = 60
	cluster := registrytest.OpenStore(t, "cluster.db")
	networks := []string{"n1", "n2", "n3"}
	for n := range hosts {
		publish(t, cluster, n+2, networks)
	}
	f := newFlaky(cluster, func(nth int) bool { return nth%7 == 0 })
	m := newMachine(t, "h1", f)
	eventually(t, "h1 knows what the others have", func() bool { return m.knowsAll(hosts, networks) })
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.answered) != hosts*len(networks) || slices.Max(slices.Collect(maps.Values(f.answered))) > 1 {
		t.Errorf("%d requests were answered, want each of %d once: %v", len(f.answered), hosts*len(networks), f.answered)
	}
}

// A host that joins asks once for all that another one has.
func TestManyDocumentsOfAHostAreReadAtOnce(t *testing.T) {
	const hosts = 5
	cluster := registrytest.OpenStore(t, "cluster.db")
	var networks []string
	for i := range 40 {
		networks = append(networks, fmt.Sprintf("n%d", i))
	}
	for n := range hosts {
		publish(t, cluster, n+2, networks)
	}
	f := newFlaky(cluster, func(nth int) bool { return nth%3 == 0 })
	m := newMachine(t, "h1", f)
	eventually(t, "h1 knows what the others have", func() bool { return m.knowsAll(hosts, networks) })
	f.mu.Lock()
	if len(f.answered) != hosts {
		t.Errorf("of %d hosts h1 has asked for %v", hosts, f.answered)
	}
	f.mu.Unlock()

	// What changes afterwards is asked for alone.
	at := overlay.Attachment{Network: "n7", Host: "h3", Incarnation: "i", Seq: 41}
	change := overlay.Attachment{Network: "n7", Host: "h3", Incarnation: "i", Seq: 41, Stock: []netip.Addr{netip.MustParseAddr("10.1.0.9")}}
	rewrite(t, cluster, change)
	eventually(t, "h1 knows the change", func() bool {
		got, _ := m.Direct().PeerAttachment("h3", "n7")
		return got.Seq == at.Seq && len(got.Stock) == 1
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.answered) != hosts+1 || f.answered["Get at/h3/n7"] != 1 {
		t.Errorf("after one change h1 has asked for %v", f.answered)
	}
}

// rewrite publishes another document of a host.
func rewrite(t *testing.T, cluster kvstore.Store, at overlay.Attachment) {
	t.Helper()
	p, err := cluster.Get(t.Context(), record.HostKey(at.Host))
	var host record.HostDoc
	if err == nil {
		err = json.Unmarshal(p.Value, &host)
	}
	if err != nil {
		t.Fatal(err)
	}
	op, err := record.Put(record.AttachmentKey(at.Host, at.Network), at)
	if err != nil {
		t.Fatal(err)
	}
	host.Digests[at.Network], host.Seq = record.Digest(op.Value), at.Seq
	own, err := record.Put(record.HostKey(at.Host), host)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Txn(t.Context(), op, own); err != nil {
		t.Fatal(err)
	}
}

// Hosts and their leases are known while no document can be read; but a host that has lost
// its records does not begin to take over its containers before it knows the others'.
func TestLeasesCountBeforeDocuments(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h2 := newMachine(t, "h2", cluster)
	n := h2.create("d2", overlay.Network{Subnets: []overlay.Subnet{{Prefix: subnetA}}})
	eventually(t, "h2 is published", func() bool {
		_, err := cluster.Get(t.Context(), record.AttachmentKey("h2", n.ID))
		return err == nil
	})
	var mu sync.Mutex
	fails := true
	h1 := newMachine(t, "h1", newFlaky(cluster, func(int) bool { mu.Lock(); defer mu.Unlock(); return fails }))
	eventually(t, "h1 sees the lease of h2", func() bool {
		return slices.ContainsFunc(h1.HostStates(), func(s registry.HostState) bool { return s.Name == "h2" && s.Live })
	})
	h2.stop()
	eventually(t, "h1 sees that the lease is free", func() bool {
		return slices.ContainsFunc(h1.HostStates(), func(s registry.HostState) bool { return s.Name == "h2" && !s.Live })
	})
	if _, ready := h1.Rebuilding(); ready || h1.attachedPeer(n.ID, "h2") {
		t.Errorf("h1 has read what it cannot read: ready %v", ready)
	}
	mu.Lock()
	fails = false
	mu.Unlock()
	eventually(t, "h1 knows what h2 has", func() bool {
		_, ready := h1.Rebuilding()
		return ready && h1.attachedPeer(n.ID, "h2")
	})
}
