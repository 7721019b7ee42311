package push_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// traffic are counts of what hosts say to each other.
type traffic struct{ sent, received, refused, failed uint64 }

func trafficOf(hosts ...*host) (out traffic) {
	for _, h := range hosts {
		s := h.push.Stats()
		out.sent, out.received, out.refused, out.failed = out.sent+s.Sent, out.received+s.Received, out.refused+s.Refused, out.failed+s.FetchesFailed
	}
	return out
}

// quiet waits until no message is under way between the hosts, and gives the traffic so
// far: a message that is counted on one side only would make the counts differ for good.
func quiet(t *testing.T, hosts ...*host) (now traffic) {
	t.Helper()
	within(t, 20*time.Second, "no message is under way", func() bool {
		was := trafficOf(hosts...)
		time.Sleep(50 * time.Millisecond) // messages take far less, and come a few times a second
		now = trafficOf(hosts...)
		return now == was
	})
	return now
}

// lossless starts to count, and gives what fails if since then one message was lost or
// refused between the hosts.
func lossless(t *testing.T, hosts ...*host) (end func()) {
	t.Helper()
	before := quiet(t, hosts...)
	return func() {
		t.Helper()
		var now traffic
		within(t, 10*time.Second, "all that was sent has come", func() bool {
			now = trafficOf(hosts...)
			return now.sent-before.sent == now.received-before.received
		})
		if now.refused != before.refused || now.failed != before.failed {
			t.Errorf("%d datagrams and questions were refused, %d questions failed", now.refused-before.refused, now.failed-before.failed)
		}
		t.Logf("%d datagrams, none was lost", now.received-before.received)
	}
}

// spoken waits until each of the hosts has heard n more datagrams.
func spoken(t *testing.T, n int, hosts ...*host) {
	t.Helper()
	was := map[*host]uint64{}
	for _, h := range hosts {
		was[h] = h.push.Stats().Received
	}
	for _, h := range hosts {
		within(t, 30*time.Second, h.name+" hears the others", func() bool { return h.push.Stats().Received >= was[h]+uint64(n) })
	}
}

// readable counts the datagrams that the host has heard, from the given one on, and those
// of them that the key opens.
func readable(t *testing.T, h *host, from int, key string) (opened, all int) {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := chacha20poly1305.NewX(text)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.heard[from:] {
		if _, err := aead.Open(nil, b[1:25], b[25:], []byte(h.Keyring().Meta().ID+"\x00datagram")); err == nil {
			opened++
		}
	}
	return opened, len(h.heard) - from
}

func (h *host) heardAll() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.heard)
}

func (h *host) heardSoFar() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.heard)
}

// turned waits until all of the hosts have come to one key, of that generation at least.
func turned(t *testing.T, generation uint64, hosts ...*host) record.Meta {
	t.Helper()
	first := hosts[0]
	within(t, 40*time.Second, fmt.Sprintf("all have one key of generation %d", generation), func() bool {
		return !slices.ContainsFunc(hosts, func(h *host) bool {
			m := h.Keyring().Meta()
			return m.Generation < generation || len(m.PSK) != 1 || m.PSK[0] != first.Keyring().Meta().PSK[0]
		})
	})
	return first.Keyring().Meta()
}

// deaf fails unless what the hosts say from now on is none that the key opens.
func deaf(t *testing.T, key string, hosts ...*host) {
	t.Helper()
	from := map[*host]int{}
	for _, h := range hosts {
		from[h] = h.heardSoFar()
	}
	spoken(t, 6, hosts...)
	for _, h := range hosts {
		if opened, all := readable(t, h, from[h], key); opened > 0 || all == 0 {
			t.Errorf("the former key opens %d of %d datagrams that %s has heard", opened, all, h.name)
		}
	}
}

func TestAChangeOfTheKeyLosesNothing(t *testing.T) {
	t.Parallel()
	cluster := kvtest.NewCable(registrytest.OpenStore(t, "cluster.db"))
	h1, h2, h3 := newHost(t, "h1", cluster), newHost(t, "h2", cluster), newHost(t, "h3", cluster)
	hosts := []*host{h1, h2, h3}
	n := network(t, hosts...)
	acquainted(t, hosts...)
	former := h1.Keyring().Meta().PSK[0]
	spoken(t, 4, hosts...)
	if opened, all := readable(t, h1, 0, former); opened != all || all == 0 {
		t.Fatalf("the key opens %d of %d datagrams before it is changed", opened, all)
	}
	end := lossless(t, hosts...)
	for i := range 3 {
		id := fmt.Sprintf("e%d", i)
		rotated := make(chan error, 1)
		go func() {
			s, err := hosts[i].Keyring().Rotate(t.Context())
			if err == nil && s.Generation != uint64(i)+1 {
				err = fmt.Errorf("the change has come to %+v", s)
			}
			rotated <- err
		}()
		h1.endpoint(id, n, fmt.Sprintf("10.1.0.%d", i+1))
		if err := <-rotated; err != nil {
			t.Fatal(err)
		}
		turned(t, uint64(i)+1, hosts...)
		for _, h := range hosts[1:] {
			within(t, 20*time.Second, h.name+" sees "+id, func() bool { return h.sees(h1, n, id) })
		}
	}
	deaf(t, former, hosts...)
	end()
	for _, h := range hosts {
		if s := h.Snapshot().Silent; len(s) > 0 {
			t.Errorf("%s takes %v for silent", h.name, s)
		}
	}
	// A new process has the key from its state.
	cluster.Cut()
	h2.stop()
	h2.start()
	acquainted(t, h1, h2)
}

func TestWhoHasLeftReadsNothing(t *testing.T) {
	t.Parallel()
	for name, goes := range map[string]func(t *testing.T, h1, h3 *host){
		"leave": func(t *testing.T, _, h3 *host) {
			h3.stop()
			h3.do("leave", h3.Departure().Retire(t.Context()))
		},
		"forget": func(t *testing.T, h1, h3 *host) {
			h3.stop()
			within(t, 20*time.Second, "h1 forgets h3", func() bool { return h1.Forget(t.Context(), "h3") == nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := registrytest.OpenStore(t, "cluster.db")
			h1, h2, h3 := newHost(t, "h1", cluster), newHost(t, "h2", cluster), newHost(t, "h3", cluster)
			acquainted(t, h1, h2, h3)
			former := h3.Keyring().Meta().PSK[0]
			goes(t, h1, h3)
			if got := turned(t, 1, h1, h2).PSK[0]; got == former || h3.Keyring().Meta().PSK[0] != former {
				t.Fatal("h3 has the key that the others have")
			}
			deaf(t, former, h1, h2)
			if g := h1.Keyring().Meta().Generation; g != 1 {
				t.Errorf("one departure has changed the key %d times", g)
			}
			// It joins again, and is one of them.
			h3.start()
			acquainted(t, h1, h2, h3)
			turned(t, 1, h1, h2, h3)
		})
	}
}

// A host that the store does not reach goes on hearing and being heard while the key is
// changed, twice, and follows when the store is back.
func TestAHostWithoutTheStoreIsNotLost(t *testing.T) {
	t.Parallel()
	store := registrytest.OpenStore(t, "cluster.db")
	alone := kvtest.NewCable(store)
	h1, h2, h3 := newHost(t, "h1", store), newHost(t, "h2", store), newHost(t, "h3", alone)
	hosts := []*host{h1, h2, h3}
	n := network(t, hosts...)
	acquainted(t, hosts...)
	former := h1.Keyring().Meta().PSK[0]
	alone.Cut()
	end := lossless(t, hosts...)
	for i := range 2 {
		s, err := h1.Keyring().Rotate(t.Context())
		if err != nil || s.Generation != uint64(i)+1 || !slices.Equal(s.Waits, []string{"h3"}) {
			t.Fatalf("the change has come to %+v, %v", s, err)
		}
	}
	within(t, 20*time.Second, "h2 has it", func() bool { return h2.Keyring().Meta().Generation == 2 })
	h3.endpoint("e3", n, "10.1.0.7")
	h1.endpoint("e1", n, "10.1.0.5")
	within(t, 20*time.Second, "they see each other's containers", func() bool { return h1.sees(h3, n, "e3") && h3.sees(h1, n, "e1") })
	for range 4 {
		spoken(t, 6, hosts...)
	}
	end()
	for _, h := range hosts {
		if s := h.Snapshot().Silent; len(s) > 0 {
			t.Errorf("%s takes %v for silent", h.name, s)
		}
	}
	from := h2.heardSoFar()
	spoken(t, 6, h2)
	if opened, all := readable(t, h2, from, former); opened == all {
		t.Errorf("all %d datagrams to h2 are sealed by the former key", all)
	}
	alone.Mend()
	turned(t, 2, hosts...)
	deaf(t, former, hosts...)
}

func TestTwoChangesAtOnce(t *testing.T) {
	t.Parallel()
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2, h3 := newHost(t, "h1", cluster), newHost(t, "h2", cluster), newHost(t, "h3", cluster)
	hosts := []*host{h1, h2, h3}
	acquainted(t, hosts...)
	end := lossless(t, hosts...)
	var both sync.WaitGroup
	for range 4 {
		for _, h := range hosts {
			both.Go(func() {
				if _, err := h.Keyring().Rotate(t.Context()); err != nil {
					t.Errorf("%s: %v", h.name, err)
				}
			})
		}
	}
	both.Wait()
	turned(t, 1, hosts...)
	spoken(t, 6, hosts...)
	end()
}

// A store that was set back to a snapshot has the former key again, and learns the newer
// one from the hosts.
func TestAStoreThatWasSetBackLearnsTheKeyAgain(t *testing.T) {
	t.Parallel()
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	acquainted(t, h1, h2)
	within(t, 5*time.Second, "both are published", func() bool {
		pairs, _, err := cluster.List(t.Context(), "host/")
		told := slices.DeleteFunc(pairs, func(p kvstore.Pair) bool { return !strings.Contains(string(p.Value), `"keys"`) })
		return err == nil && len(told) == 2
	})
	snapshot, _, err := cluster.List(t.Context(), "")
	h1.do("take a snapshot", err)
	former := h1.Keyring().Meta().PSK[0]
	_, err = h1.Keyring().Rotate(t.Context())
	h1.do("rotate", err)
	newer := turned(t, 1, h1, h2).PSK[0]

	var ops []kvstore.Op
	for _, p := range snapshot {
		if p.Key == "meta" || strings.HasSuffix(p.Key, "/doc") {
			ops = append(ops, kvstore.Op{Kind: kvstore.Set, Key: p.Key, Value: p.Value})
		}
	}
	ops = append(ops, kvstore.Op{Kind: kvstore.Delete, Key: "host/h1/doc"}) // written since, by its own process
	_, err = cluster.Txn(t.Context(), ops...)
	h1.do("restore", err)
	h3 := newHost(t, "h3", cluster) // which may learn the former key
	within(t, 40*time.Second, "the store has the newer key, and all have it", func() bool {
		p, err := cluster.Get(t.Context(), "meta")
		var m record.Meta
		return err == nil && json.Unmarshal(p.Value, &m) == nil && len(m.PSK) == 1 && m.PSK[0] == newer && m.Generation == 2
	})
	acquainted(t, h1, h2, h3)
	if got := turned(t, 2, h1, h2, h3).PSK[0]; got != newer {
		t.Error("the key is another one")
	}
	deaf(t, former, h1, h2)
}

// Hosts of a weft that knows no change of keys are named, and nothing is changed; what is
// due is made up for when there is none left.
func TestAWeftThatKnowsNoChangeOfKeys(t *testing.T) {
	t.Parallel()
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2, h3 := newHost(t, "h1", cluster), newHost(t, "h2", cluster), newHost(t, "h3", cluster)
	acquainted(t, h1, h2, h3)
	record := func(text string) {
		t.Helper()
		_, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "host/h9/doc", Value: []byte(text)})
		h1.do("write the record", err)
	}
	record(fmt.Sprintf(`{"name":"h9","inc":"0123456789ab","vtep":"192.0.2.10","port":4789,"mtu":1500,"version":"v0.1.0","push":%q,"digests":{}}`, freePort(t)))
	within(t, 5*time.Second, "h1 and h2 know it", func() bool { return len(h1.Direct().PushPeers()) == 3 && len(h2.Direct().PushPeers()) == 3 })
	before := h1.Keyring().Meta()
	if _, err := h1.Keyring().Rotate(t.Context()); err == nil || !strings.Contains(err.Error(), "host h9 ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("it is refused with %v", err)
	}
	h3.stop()
	h3.do("leave", h3.Departure().Retire(t.Context()))
	within(t, 5*time.Second, "h3 has left", func() bool { return len(h1.Direct().PushPeers()) == 2 && len(h2.Direct().PushPeers()) == 2 })
	spoken(t, 6, h1, h2)
	if after := h1.Keyring().Meta(); after.Generation != 0 || !slices.Equal(after.PSK, before.PSK) {
		t.Errorf("the key was changed: generation %d", after.Generation)
	}
	record(`{"name":"h9","left":true}`)
	if got := turned(t, 1, h1, h2).PSK[0]; got == before.PSK[0] {
		t.Error("the key is the one that h3 knows")
	}
}

// What a host knows that says nothing of it, or has not yet, is taken to be the newest.
func TestAForgottenWeftThatSaysNothingOfItsKeys(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	acquainted(t, h1, h2)
	former := h1.Keyring().Meta().PSK[0]
	doc := fmt.Sprintf(`{"name":"h9","inc":"0123456789ab","vtep":"192.0.2.10","port":4789,"mtu":1500,"version":"v0.1.0","push":%q,"digests":{}}`, freePort(t))
	_, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "host/h9/doc", Value: []byte(doc)})
	h1.do("write the record", err)
	within(t, 5*time.Second, "h1 knows it", func() bool { return len(h1.Direct().PushPeers()) == 2 })
	h1.do("forget", h1.Forget(t.Context(), "h9"))
	if got := turned(t, 1, h1, h2).PSK[0]; got == former {
		t.Error("the key is the one that h9 knows")
	}
}

// A machine whose disk is set back to before a change of the key is heard again.
func TestAHostSetBackToAFormerKeyIsHeard(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	acquainted(t, h1, h2)
	h2.stop()
	former, err := h2.state.Get(t.Context(), "meta")
	h2.do("take a snapshot", err)
	h2.start()
	acquainted(t, h1, h2)
	_, err = h1.Keyring().Rotate(t.Context())
	h1.do("rotate", err)
	turned(t, 1, h1, h2)
	h2.mute()
	h2.stop()
	_, err = h2.state.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "meta", Value: former.Value})
	h2.do("set back", err)
	since := time.Now()
	h2.start()
	t.Log("heard again after", within(t, 10*time.Second, "h2 is heard again", func() bool { return h1.HostStates()[0].Heard.After(since) }))
	turned(t, 1, h1, h2)
}
