package push_test

import (
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// forger is somebody who has the cluster's key and is no member.
type forger struct {
	t       *testing.T
	cluster string
	aead    cipher.AEAD
	from    netip.Addr
	signer  ed25519.PrivateKey // nil: it does not sign
}

var (
	elsewhere = netip.AddrFrom4([4]byte{127, 0, 0, 2}) // no host's
	hostsAddr = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // all hosts'
)

// forge takes the key that a host knows.
func forge(t *testing.T, h *host, from netip.Addr) forger {
	t.Helper()
	meta := h.Keyring().Meta()
	key, err := base64.StdEncoding.DecodeString(meta.PSK[0])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		t.Fatal(err)
	}
	return forger{t: t, cluster: meta.ID, aead: aead, from: from}
}

// as gives the forger the host's own key too.
func (f forger) as(h *host) forger {
	f.t.Helper()
	p, err := h.state.Get(f.t.Context(), "sign")
	var seed []byte
	if err := errors.Join(err, json.Unmarshal(p.Value, &seed)); err != nil {
		f.t.Fatal(err)
	}
	f.signer = ed25519.NewKeyFromSeed(seed)
	return f
}

func (f forger) seal(m map[string]any, purpose string) []byte {
	f.t.Helper()
	plain, err := json.Marshal(m)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.signer != nil {
		plain = plain[:len(plain)-1]
		text := append(append([]byte("weft direct message\x00"), f.cluster...), 0, 0, byte(len(purpose)))
		text = append(append(text, purpose...), plain...)
		plain = fmt.Appendf(plain, `,"sig":"%s"}`, base64.RawStdEncoding.EncodeToString(ed25519.Sign(f.signer, text)))
	}
	return f.sealPlain(plain, purpose)
}

func (f forger) sealPlain(plain []byte, purpose string) []byte {
	out := make([]byte, 1+chacha20poly1305.NonceSizeX)
	out[0] = 1
	_, _ = rand.Read(out[1:])
	return f.aead.Seal(out, out[1:], plain, []byte(f.cluster+"\x00"+purpose))
}

func (f forger) open(datagram []byte) []byte {
	f.t.Helper()
	plain, err := f.aead.Open(nil, datagram[1:25], datagram[25:], []byte(f.cluster+"\x00datagram"))
	if err != nil {
		f.t.Fatal(err)
	}
	return plain
}

// kinds counts messages by their kind, and whether they have only what is new, or
// introduce their host.
func (f forger) kinds(datagrams [][]byte) map[string]int {
	f.t.Helper()
	out := map[string]int{}
	for _, b := range datagrams {
		var m map[string]any
		if err := json.Unmarshal(f.open(b), &m); err != nil {
			f.t.Fatal(err)
		}
		out[fmt.Sprint(m["k"], m["p"] != nil, m["t"] != nil)]++
	}
	return out
}

// send sends a datagram.
func (f forger) send(to *host, m map[string]any) {
	f.t.Helper()
	f.write(to, f.seal(m, "datagram"))
}

func (f forger) write(to *host, sealed []byte) {
	f.t.Helper()
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: f.from.AsSlice()}, net.UDPAddrFromAddrPort(to.at))
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(sealed); err != nil {
		f.t.Fatal(err)
	}
}

// refused sends a datagram and waits until it is counted as refused.
func (f forger) refused(to *host, m map[string]any) {
	f.t.Helper()
	before := to.push.Stats().Refused
	f.send(to, m)
	within(f.t, 3*time.Second, "the forged datagram is refused", func() bool { return to.push.Stats().Refused > before })
}

// answered asks for documents and says whether a byte came back.
func (f forger) answered(to *host, m map[string]any) bool {
	f.t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: f.from.AsSlice()}}).Dial("tcp", to.at.String())
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	sealed := f.seal(m, "question to "+to.name)
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(sealed))), sealed...))
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = io.ReadFull(conn, make([]byte, 4))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f.t.Fatal("a question was neither answered nor refused")
	}
	return err == nil
}

// beatOf is a beat of a host, with a number beyond its present one.
func beatOf(h *host, beyond uint64) map[string]any {
	return map[string]any{"k": "beat", "h": h.name, "i": h.Self().Incarnation, "u": h.push.Process(), "n": h.Direct().Runs()<<32 + beyond, "s": h.Direct().Seq(), "ok": true}
}

func goneOf(h *host, n overlay.Network, seq uint64) map[string]any {
	return map[string]any{"k": "delta", "h": h.name, "i": h.Self().Incarnation, "u": h.push.Process(), "n": h.Direct().Runs()<<32 + 1<<31, "d": map[string]any{
		"network": n.ID, "host": h.name, "inc": h.Self().Incarnation, "seq": seq, "gone": true,
	}}
}

func questionOf(h *host) map[string]any {
	return map[string]any{"k": "want", "h": h.name, "i": h.Self().Incarnation}
}

// lastWord makes a beat the one with which a host goes down.
func lastWord(m map[string]any) map[string]any {
	m["r"], m["w"] = true, true
	return m
}

// The key alone lets nobody speak for a host: its messages come from its address.
func TestAHostSpeaksFromItsOwnAddress(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	n := network(t, h1, h2)
	h2.endpoint("e2", n, "10.1.0.6")
	acquainted(t, h1, h2)
	within(t, 5*time.Second, "h1 sees e2", func() bool { return h1.sees(h2, n, "e2") })

	f := forge(t, h2, elsewhere).as(h2)
	f.refused(h1, lastWord(beatOf(h2, 1000)))
	f.refused(h1, goneOf(h2, n, h2.Direct().Seq()+1))
	if h1.Snapshot().Silent["h2"] || !h1.sees(h2, n, "e2") {
		t.Error("a message from another address was taken")
	}
	if f.answered(h1, questionOf(h2)) {
		t.Error("a question from another address was answered")
	}
	if f.from = hostsAddr; !f.answered(h1, questionOf(h2)) {
		t.Error("a question from the host's address was not answered, so nothing was tested")
	}
}

// A host that has got another address is heard there as soon as the store tells of
// it, and no more at the old one.
func TestAHostThatMoves(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	acquainted(t, h1, h2)
	h2.stop()
	within(t, 5*time.Second, "h1 knows that h2 rests", func() bool { return !h1.hears(h2) })
	h2.at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 3}), h2.at.Port())
	h2.start()
	acquainted(t, h1, h2)
	n := network(t, h1, h2)
	h2.endpoint("e2", n, "10.1.0.6")
	within(t, 5*time.Second, "h1 sees e2", func() bool { return h1.sees(h2, n, "e2") })
	forge(t, h2, hostsAddr).as(h2).refused(h1, lastWord(beatOf(h2, 1000)))
	if h1.Snapshot().Silent["h2"] {
		t.Error("a message from the address of before was taken")
	}
}

// Who has left, or was forgotten, says nothing any more, not even in its own name,
// is told nothing and gets nothing.
func TestWhoHasLeft(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2, h3 := newHost(t, "h1", cluster), newHost(t, "h2", cluster), newHost(t, "h3", cluster)
	n := network(t, h1, h2, h3)
	acquainted(t, h1, h2, h3)
	h3.stop()
	h3.do("leave", h3.Departure().Retire(t.Context()))
	within(t, 5*time.Second, "h1 knows that h3 has left", func() bool { return len(h1.HostStates()) == 1 })
	f := forge(t, h3, hostsAddr).as(h3)
	f.refused(h1, beatOf(h3, 1000))
	f.refused(h1, goneOf(h3, n, h3.Direct().Seq()+1))
	if f.answered(h1, questionOf(h3)) {
		t.Error("a question of a host that has left was answered")
	}
	ear, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(h3.at))
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	sent := h1.push.Stats().Sent
	h1.endpoint("e1", n, "10.1.0.5")
	within(t, 5*time.Second, "h1 speaks", func() bool { return h1.push.Stats().Sent > sent+3 && h2.sees(h1, n, "e1") })
	_ = ear.SetReadDeadline(time.Now().Add(time.Millisecond))
	if k, _, err := ear.ReadFromUDP(make([]byte, 2000)); err == nil {
		t.Errorf("a host that has left was sent %d bytes", k)
	}
}

// The mark of a dead host is enough, before its record says so.
func TestWhoIsDeclaredDead(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	acquainted(t, h1, h2)
	_, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "host/h2/dead", Value: []byte(`{"by":"h1"}`)})
	h1.do("mark", err)
	within(t, 5*time.Second, "h1 says nothing to h2", func() bool { return len(h1.Direct().PushPeers()) == 0 })
	forge(t, h2, hostsAddr).as(h2).refused(h1, beatOf(h2, 1000))
	_, err = cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: "host/h2/dead"})
	h1.do("take the mark off", err)
	within(t, 5*time.Second, "h1 speaks to h2 again", func() bool { return len(h1.Direct().PushPeers()) == 1 })
}

// A number that no host can have is no wall before the true ones.
func TestAbsurdNumbers(t *testing.T) {
	cluster := kvtest.NewCable(registrytest.OpenStore(t, "cluster.db"))
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	n := network(t, h1, h2)
	h2.endpoint("e2", n, "10.1.0.6")
	acquainted(t, h1, h2)
	within(t, 5*time.Second, "h1 sees e2", func() bool { return h1.sees(h2, n, "e2") })
	cluster.Cut()

	f := forge(t, h2, hostsAddr).as(h2)
	for _, number := range []uint64{1 << 63, h2.Direct().Runs()<<32 + 1<<31, (h2.Direct().Runs() + 1000) << 32} {
		f.refused(h1, map[string]any{"k": "beat", "h": "h2", "i": h2.Self().Incarnation, "u": h2.push.Process(), "n": number})
	}
	f.refused(h1, goneOf(h2, n, 1<<62))
	if !h1.sees(h2, n, "e2") {
		t.Error("a document of an absurd number was taken")
	}
	// Of a process that the store does not know, which may be.
	later := beatOf(h2, 0)
	later["n"], later["s"] = (h2.Direct().Runs()+100)<<32+1, uint64(1)<<62
	f.send(h1, later)
	since := time.Now()
	within(t, 3*time.Second, "h2 itself is heard", func() bool { return h1.HostStates()[0].Heard.After(since) })
	h2.endpoint("e3", n, "10.1.0.7")
	within(t, 3*time.Second, "h1 sees e3", func() bool { return h1.sees(h2, n, "e3") })
	within(t, 3*time.Second, "h1 misses nothing", func() bool { _, missing := h1.Direct().Missing("h2"); return !missing })
	h2.stop()
	within(t, 3*time.Second, "h1 hears h2's last word", func() bool { return !h1.hears(h2) })
}

// One that an earlier weft has taken, and kept, gives way to the store.
func TestAnAbsurdNumberInState(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	n := network(t, h1, h2)
	h2.endpoint("e2", n, "10.1.0.6")
	within(t, 5*time.Second, "h1 sees e2", func() bool { return h1.sees(h2, n, "e2") })
	h1.stop()
	at, err := json.Marshal(overlay.Attachment{Network: n.ID, Host: "h2", Incarnation: h2.Self().Incarnation, Seq: 1 << 62})
	h1.do("encode", err)
	_, err = h1.state.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "replica/at/h2/" + n.ID, Value: at})
	h1.do("spoil the state", err)
	h1.start()
	within(t, 5*time.Second, "h1 sees e2 again", func() bool { return h1.sees(h2, n, "e2") })
	h2.endpoint("e3", n, "10.1.0.7")
	within(t, 5*time.Second, "h1 sees e3", func() bool { return h1.sees(h2, n, "e3") })
}

// A machine that is set back to a snapshot of its disk counts on from where the
// store knows it, and is heard; what was said before is old all the same, also to
// a host that has just begun to hear.
func TestASetBackHostIsHeard(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	acquainted(t, h1, h2)
	h2.stop()
	snapshot, _, err := h2.state.List(t.Context(), "")
	h2.do("take a snapshot", err)
	for range 3 {
		h2.start()
		acquainted(t, h1, h2)
		within(t, 5*time.Second, "h2 is published", func() bool {
			p, err := cluster.Get(t.Context(), "host/h2/doc")
			var doc struct{ Runs uint64 }
			return err == nil && json.Unmarshal(p.Value, &doc) == nil && doc.Runs == h2.Direct().Runs()
		})
		h2.mute() // no last word: its power is cut
		h2.stop()
	}
	old := h1.heardAll()
	now, _, err := h2.state.List(t.Context(), "")
	h2.do("look", err)
	var ops []kvstore.Op
	for _, p := range now {
		ops = append(ops, kvstore.Op{Kind: kvstore.Delete, Key: p.Key})
	}
	for _, p := range snapshot {
		ops = append(ops, kvstore.Op{Kind: kvstore.Set, Key: p.Key, Value: p.Value})
	}
	for some := range slices.Chunk(ops, kvstore.MaxOps) {
		_, err = h2.state.Txn(t.Context(), some...)
		h2.do("set back", err)
	}
	since := time.Now()
	h2.start()
	heard := func() bool { return h1.HostStates()[0].Heard.After(since) && !h1.Snapshot().Silent["h2"] }
	t.Log("heard again after", within(t, 10*time.Second, "h2 is heard again", heard))

	replay := func() {
		for _, b := range old {
			forge(t, h2, hostsAddr).write(h1, b)
		}
	}
	h2.mute()
	within(t, 10*time.Second, "h1 notices the silence among what was said before", func() bool {
		replay()
		return h1.Snapshot().Silent["h2"]
	})
	h1.stop()
	h1.start()
	received := h1.push.Stats().Received
	within(t, 5*time.Second, "h1 has got it", func() bool { replay(); return h1.push.Stats().Received > received+100 })
	if h1.hears(h2) {
		t.Error("h1 has begun to hear what was said before")
	}
}

// A member cannot speak for another, not even from its address.
func TestAHostSignsForItself(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2, h3 := newHost(t, "h1", cluster), newHost(t, "h2", cluster), newHost(t, "h3", cluster)
	n := network(t, h1, h2, h3)
	h2.endpoint("e2", n, "10.1.0.6")
	acquainted(t, h1, h2, h3)
	within(t, 5*time.Second, "h1 sees e2", func() bool { return h1.sees(h2, n, "e2") })
	f := forge(t, h3, hostsAddr)
	for _, f := range []forger{f, f.as(h3)} {
		f.refused(h1, lastWord(beatOf(h2, 1000)))
		f.refused(h1, goneOf(h2, n, h2.Direct().Seq()+1))
		if f.answered(h1, questionOf(h2)) {
			t.Error("a question that its host has not signed was answered")
		}
	}
	if h1.Snapshot().Silent["h2"] || !h1.sees(h2, n, "e2") {
		t.Error("a message that its host has not signed was taken")
	}
	f.as(h2).send(h1, lastWord(beatOf(h2, 1000)))
	within(t, 3*time.Second, "h1 takes what h2 has signed", func() bool { return h1.Snapshot().Silent["h2"] })
}

// What a host has said before it was started anew, its last word too, is old to one
// that has been started anew since as well.
func TestReplayedAfterARestart(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	n := network(t, h1, h2)
	acquainted(t, h1, h2)
	h2.endpoint("e2", n, "10.1.0.6")
	within(t, 5*time.Second, "h1 sees e2", func() bool { return h1.sees(h2, n, "e2") })
	h2.do("delete", h2.DeleteEndpoint(t.Context(), "e2"))
	within(t, 5*time.Second, "h1 sees e2 gone", func() bool { return !h1.sees(h2, n, "e2") })
	h2.stop()
	within(t, 5*time.Second, "h1 hears h2's last word", func() bool { return !h1.hears(h2) })
	old := h1.heardAll()
	h2.start()
	h1.stop()
	h1.start()
	acquainted(t, h1, h2)

	f, before := forge(t, h2, hostsAddr), h1.push.Stats()
	for _, b := range old {
		f.write(h1, b)
	}
	within(t, 5*time.Second, "h1 has got it", func() bool { return h1.push.Stats().Received >= before.Received+uint64(len(old)) })
	if !h1.hears(h2) || h1.Snapshot().Silent["h2"] {
		t.Error("h1 has heard h2's last word of before")
	}
	if h1.sees(h2, n, "e2") {
		t.Error("h1 sees a container that is gone")
	}
}

// What a host's present process has said is old to a host that was started anew since:
// a host that is silent is not heard by it, and nothing else comes of it, not even when
// a member of the cluster seals it again.
func TestReplayedToAHostThatWasStartedAnew(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	n := network(t, h1, h2)
	acquainted(t, h1, h2)
	for i := range 30 { // so that it is said what changes
		h2.endpoint(fmt.Sprint("e", i), n, fmt.Sprint("10.1.0.", i+10))
	}
	within(t, 5*time.Second, "h1 sees e29", func() bool { return h1.sees(h2, n, "e29") })
	for i := range 30 {
		h2.do("delete", h2.DeleteEndpoint(t.Context(), fmt.Sprint("e", i)))
	}
	within(t, 5*time.Second, "h1 sees e29 gone", func() bool { return !h1.sees(h2, n, "e29") })
	f := forge(t, h1, hostsAddr)
	within(t, 5*time.Second, "h2 has said all kinds of messages", func() bool { return len(f.kinds(h1.heardAll())) == 4 })
	h2.mute()
	h1.stop()
	old := h1.heardAll()
	for _, b := range slices.Clone(old) {
		old = append(old, f.sealPlain(f.open(b), "datagram"))
	}

	h1.start()
	within(t, 5*time.Second, "h1 speaks to h2", func() bool { return h1.push.Stats().Sent > 0 })
	replay := func(datagrams ...[]byte) {
		received := h1.push.Stats().Received
		for _, b := range datagrams {
			f.write(h1, b)
			time.Sleep(time.Millisecond) // not faster than h1 reads
		}
		within(t, 10*time.Second, "h1 has got it", func() bool { return h1.push.Stats().Received >= received+uint64(len(datagrams)) })
	}
	replay(old...)
	if !f.as(h2).answered(h1, questionOf(h2)) {
		t.Error("a question was not answered")
	}
	if h1.hears(h2) {
		t.Error("h1 hears a host that says nothing")
	}
	if since, missing := h1.Direct().Missing("h2"); missing {
		t.Errorf("h1 misses what was announced beyond %d", since)
	}
	for _, at := range h1.Snapshot().Peers[n.ID] {
		if len(at.Endpoints) > 0 {
			t.Errorf("h1 sees containers that are gone: %v", at.Endpoints)
		}
	}
	replay(f.as(h2).seal(lastWord(beatOf(h2, 1000)), "datagram"))
	if h1.Snapshot().Silent["h2"] {
		t.Error("h1 has heard its last word")
	}
}

// A host that is started anew hears the others at once, and they it.
func TestAHostThatIsStartedAnewHearsAll(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2, h3 := newHost(t, "h1", cluster), newHost(t, "h2", cluster), newHost(t, "h3", cluster)
	acquainted(t, h1, h2, h3)
	for range 5 {
		h1.stop()
		began := time.Now()
		h1.start()
		within(t, 2*time.Second, "h1 hears the others", func() bool { return h1.hears(h2) && h1.hears(h3) })
		within(t, 2*time.Second, "the others hear h1", func() bool {
			return !slices.ContainsFunc([]*host{h2, h3}, func(h *host) bool {
				return !slices.ContainsFunc(h.HostStates(), func(s registry.HostState) bool { return s.Name == "h1" && s.Heard.After(began) })
			})
		})
		t.Log("all hear each other after", time.Since(began))
	}
}

// A host of a weft that does not sign is heard, as long as its record has no key,
// and can read what the others say.
func TestAHostThatDoesNotSign(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	acquainted(t, h1, h2)
	at := freePort(t)
	ear, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	doc := fmt.Sprintf(`{"name":"h9","inc":"0123456789ab","vtep":"192.0.2.10","port":4789,"mtu":1500,"version":"v0.1.0","push":%q,"digests":{}}`, at)
	_, err = cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "host/h9/doc", Value: []byte(doc)})
	h1.do("write the record", err)
	within(t, 5*time.Second, "h1 knows it", func() bool { return len(h1.Direct().PushPeers()) == 2 })
	f, number := forge(t, h1, hostsAddr), uint64(7)<<32
	within(t, 5*time.Second, "h1 hears it", func() bool {
		number++
		f.send(h1, map[string]any{"k": "beat", "h": "h9", "i": "0123456789ab", "n": number, "ok": true})
		return h1.hears(&host{name: "h9"})
	})
	if !f.answered(h1, map[string]any{"k": "want", "h": "h9", "i": "0123456789ab"}) {
		t.Error("its question was not answered")
	}

	buf := make([]byte, 2000)
	_ = ear.SetReadDeadline(time.Now().Add(5 * time.Second))
	k, _, err := ear.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	plain := f.open(buf[:k])
	var m struct {
		Kind string `json:"k"`
		Host string `json:"h"`
		N    uint64 `json:"n"`
	}
	if err := json.Unmarshal(plain, &m); err != nil || m.Kind != "beat" || m.Host == "" || m.N == 0 {
		t.Errorf("it cannot read %s: %v", plain, err)
	}
}
