package push

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
)

func key(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) }

func mustBox(t testing.TB, cluster string, texts ...string) *box {
	t.Helper()
	b, err := newBox(cluster, keys.Ring{Keys: texts})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func document(seq uint64) *overlay.Attachment {
	return &overlay.Attachment{Network: "net", Host: "h1", Incarnation: "i", Seq: seq, Stock: []netip.Addr{netip.MustParseAddr("10.1.0.5")}}
}

func TestSealedMessagesOpenOnlyForWhatTheyAre(t *testing.T) {
	sealed := mustBox(t, "c", key(1)).seal([]byte("text"), "x", overlay.Keys{})
	tests := []struct {
		name string
		box  *box
		in   []byte
		as   string
		ok   bool
	}{
		{"the same", mustBox(t, "c", key(1)), sealed, "x", true},
		{"a host that sends with a newer key", mustBox(t, "c", key(2), key(1)), sealed, "x", true},
		{"another key", mustBox(t, "c", key(2)), sealed, "x", false},
		{"another cluster", mustBox(t, "d", key(1)), sealed, "x", false},
		{"another purpose", mustBox(t, "c", key(1)), sealed, "y", false},
		{"truncated", mustBox(t, "c", key(1)), sealed[:len(sealed)-1], "x", false},
		{"empty", mustBox(t, "c", key(1)), nil, "x", false},
		{"another version", mustBox(t, "c", key(1)), append([]byte{9}, sealed[1:]...), "x", false},
		{"a bit flipped", mustBox(t, "c", key(1)), flipped(sealed), "x", false},
	}
	for _, tt := range tests {
		plain, _, err := tt.box.open(tt.in, tt.as)
		if tt.ok && (err != nil || string(plain) != "text") {
			t.Errorf("%s: %q, %v", tt.name, plain, err)
		}
		if !tt.ok && !errors.Is(err, errForged) {
			t.Errorf("%s: got %q, %v, want a refusal", tt.name, plain, err)
		}
	}
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

func TestKeysThatAreNone(t *testing.T) {
	for _, texts := range [][]string{nil, {"???"}, {"c2hvcnQ="}} {
		if _, err := newBox("c", keys.Ring{Keys: texts}); err == nil || strings.Contains(err.Error(), "c2hv") {
			t.Errorf("%q: got %v, want a refusal that does not show the key", texts, err)
		}
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, m := range []message{
		{Kind: beat, Host: "h1", Incarnation: "i", Process: "a", To: "b", Ask: true, Number: 1 << 40, Seq: 7, StoreOK: true, StoreFor: 12},
		{Kind: delta, Host: "h1", Incarnation: "i", Process: "a", Number: 1 << 40, After: 6, Doc: document(7)},
		{Kind: want, Host: "h1", Incarnation: "i", Seq: 5},
		{Kind: have, Host: "h1", Incarnation: "i", Seq: 7, Networks: []string{"a", "b"}, Count: 1},
		{Kind: doc, Host: "h1", Incarnation: "i", Doc: document(7)},
	} {
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(b)
		if diff := cmp.Diff(m, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", m.Kind, err, diff)
		}
	}
}

func TestMessagesThatMakeNoSense(t *testing.T) {
	for _, text := range []string{
		``, `null`, `[]`, `{}`, `{"k":"beat"}`, `{"k":"beat","h":"h1","i":"i"}`, `{"k":"later","h":"h1","i":"i"}`,
		`{"k":"delta","h":"h1","i":"i"}`,
		`{"k":"delta","h":"h1","i":"i","d":{"network":"n","host":"h2","inc":"i","seq":1}}`,
		`{"k":"delta","h":"h1","i":"i","a":9,"d":{"network":"n","host":"h1","inc":"i","seq":9}}`,
		`{"k":"have","h":"h1","i":"i","c":-1}`, `{"k":"have","h":"h1","i":"i","c":99999999}`,
		`{"k":"beat","h":"h1","i":"i","n":-1}`,
	} {
		if m, err := decode([]byte(text)); err == nil {
			t.Errorf("%s was taken as %+v", text, m)
		}
	}
}

func TestFramesHaveLimits(t *testing.T) {
	var b bytes.Buffer
	body := bytes.Repeat([]byte("x"), overhead)
	if err := writeFrame(&b, body); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	if got, err := readFrame(bytes.NewReader(whole), maxQuestion); err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %q, %v", got, err)
	}
	for name, in := range map[string][]byte{
		"nothing": nil, "half a length": whole[:2], "truncated": whole[:len(whole)-1],
		"too long":  binary.BigEndian.AppendUint32(nil, 1<<32-1),
		"too short": append(binary.BigEndian.AppendUint32(nil, overhead-1), body...),
	} {
		if got, err := readFrame(bytes.NewReader(in), maxQuestion); err == nil {
			t.Errorf("%s: was taken as %q", name, got)
		}
	}
	if err := writeFrame(&b, make([]byte, maxFrame+1)); err == nil {
		t.Error("too long a message was written")
	}
	// What is announced and does not come costs nothing.
	if n := testing.AllocsPerRun(10, func() {
		_, _ = readFrame(bytes.NewReader(binary.BigEndian.AppendUint32(nil, maxFrame)), maxFrame)
	}); n > 20 {
		t.Errorf("%v allocations for an empty frame", n)
	}
}

// An answer counts only whole, in order, and for the question that was put.
func TestAnswersThatAreNot(t *testing.T) {
	b := mustBox(t, "c", key(1))
	other := b.seal([]byte("another question"), "", overlay.Keys{})
	header := message{Kind: have, Host: "h1", Incarnation: "i", Seq: 7, Count: 2}
	first, second := message{Kind: doc, Host: "h1", Incarnation: "i", Doc: document(6)}, message{Kind: doc, Host: "h1", Incarnation: "i", Doc: document(7)}
	strange := message{Kind: doc, Host: "h9", Incarnation: "i", Doc: &overlay.Attachment{Network: "n", Host: "h9", Incarnation: "i", Seq: 1}}
	type part struct {
		m     message
		place int
		to    []byte // nil: the question
	}
	tests := []struct {
		name  string
		parts []part
		ok    bool
	}{
		{"whole", []part{{header, 0, nil}, {first, 1, nil}, {second, 2, nil}}, true},
		{"cut off", []part{{header, 0, nil}, {first, 1, nil}}, false},
		{"no header", []part{{first, 0, nil}}, false},
		{"out of order", []part{{header, 0, nil}, {second, 2, nil}, {first, 1, nil}}, false},
		{"another question's", []part{{header, 0, other}}, false},
		{"another host's", []part{{header, 0, nil}, {strange, 1, nil}}, false},
		{"a header twice", []part{{header, 0, nil}, {header, 1, nil}}, false},
	}
	for _, tt := range tests {
		asker, asked := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer asked.Close()
			sealed, err := readFrame(asked, maxQuestion)
			for _, part := range tt.parts {
				to := part.to
				if to == nil {
					to = sealed
				}
				plain, _ := part.m.encode()
				if err != nil || writeFrame(asked, b.seal(plain, answerPurpose(to, part.place), overlay.Keys{})) != nil {
					return
				}
			}
		}()
		docs, err := question{box: b, self: overlay.Host{Name: "h2", Incarnation: "i"}, host: "h1"}.ask(asker)
		_ = asker.Close()
		<-done
		if tt.ok != (err == nil) || tt.ok && len(docs.New) != 2 {
			t.Errorf("%s: got %+v, %v", tt.name, docs, err)
		}
	}
}

func TestPatches(t *testing.T) {
	endpoint := func(id, a string, names ...string) overlay.PeerEndpoint {
		return overlay.PeerEndpoint{ID: id, Addrs: []netip.Addr{netip.MustParseAddr(a)}, Names: names}
	}
	at := func(seq uint64, stock []string, endpoints ...overlay.PeerEndpoint) overlay.Attachment {
		out := overlay.Attachment{Network: "net", Host: "h1", Incarnation: "i", Seq: seq, Endpoints: endpoints}
		for _, a := range stock {
			out.Stock = append(out.Stock, netip.MustParseAddr(a))
		}
		return out
	}
	a, b, c := endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2"), endpoint("c", "10.0.0.3")
	asks := func(at overlay.Attachment, addrs ...string) overlay.Attachment {
		for _, a := range addrs {
			at.Asks = append(at.Asks, netip.MustParseAddr(a))
		}
		return at
	}
	for _, tt := range []struct {
		name     string
		was, now overlay.Attachment
		news     int // endpoints and addresses that have to be sent
	}{
		{"an endpoint more", at(1, nil, a, c), at(2, nil, a, b, c), 1},
		{"one less", at(1, nil, a, b, c), at(2, nil, a, c), 0},
		{"none left", at(1, nil, a, b), at(2, nil), 0},
		{"a name", at(1, nil, a, b), at(2, nil, a, endpoint("b", "10.0.0.2", "web")), 1},
		{"an address taken from stock", at(1, []string{"10.0.0.2", "10.0.0.9"}, a), at(2, []string{"10.0.0.9"}, a, b), 1},
		{"stock refilled", at(1, []string{"10.0.0.9"}, a), at(2, []string{"10.0.0.8", "10.0.0.9", "10.0.1.0"}, a), 2},
		{"an address asked for", at(1, nil, a), asks(at(2, nil, a), "10.0.0.7"), 0},
		{"another asked for", asks(at(1, nil, a), "10.0.0.7"), asks(at(2, nil, a), "10.0.0.6", "10.0.0.7"), 0},
		{"none asked for any more", asks(at(1, nil, a), "10.0.0.7"), at(2, nil, a), 0},
		{"nothing", at(1, nil, a), at(2, nil, a), 0},
	} {
		p, news, ok := diff(tt.was, tt.now)
		if !ok || p.Base != 1 || len(news.Endpoints)+len(news.Stock) != tt.news {
			t.Errorf("%s: got %+v, %+v, %v", tt.name, p, news, ok)
		}
		if got, want := fmt.Sprint(p.apply(tt.was, news)), fmt.Sprint(tt.now); got != want {
			t.Errorf("%s: made %s, want %s", tt.name, got, want)
		}
	}
	unsorted := at(2, nil, c, a)
	if _, _, ok := diff(at(1, nil, a), unsorted); ok {
		t.Error("a patch cannot make an unsorted document")
	}
}

// FuzzDecode: whatever an authentic host may send, decoding ends and what it
// takes is what it would send.
func FuzzDecode(f *testing.F) {
	for _, m := range []message{
		{Kind: beat, Host: "h1", Incarnation: "i", Number: 1, Seq: 7},
		{Kind: delta, Host: "h1", Incarnation: "i", After: 6, Doc: document(7)},
		{Kind: have, Host: "h1", Incarnation: "i", Seq: 7, Networks: []string{"a"}, Count: 1},
	} {
		b, _ := m.encode()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(again); err != nil {
			t.Fatalf("%s became %s: %v", b, again, err)
		}
	})
}

// FuzzOpen: no bytes that were not sealed open.
func FuzzOpen(f *testing.F) {
	b := mustBox(f, "c", key(1), key(2))
	f.Add(b.seal([]byte("x"), "y", overlay.Keys{}))
	f.Add([]byte{version})
	f.Fuzz(func(t *testing.T, in []byte) {
		if plain, _, err := b.open(in, forDatagram); err == nil {
			t.Fatalf("%x opened as %q", in, plain)
		}
	})
}

// FuzzFrame: a frame is read as it was written, or refused.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 41})
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := readFrame(bytes.NewReader(in), maxQuestion)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := writeFrame(&b, got); err != nil || !bytes.HasPrefix(in, b.Bytes()) {
			t.Fatalf("%x was read as %x: %v", in, got, err)
		}
	})
}

// BenchmarkSeal is one beat, sealed and opened again.
func BenchmarkSeal(b *testing.B) {
	x := mustBox(b, "c", key(1))
	m := message{Kind: beat, Host: "host-123", Incarnation: "0123456789ab", Number: 1 << 40, Seq: 1234, StoreOK: true, StoreFor: 1e6}
	for b.Loop() {
		plain, _ := m.encode()
		got, _, err := x.open(x.seal(plain, forDatagram, overlay.Keys{}), forDatagram)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := decode(got); err != nil {
			b.Fatal(err)
		}
	}
}
