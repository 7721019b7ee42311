package push

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"net"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
)

// signerOf gives a key's way to sign and its public half.
func signerOf(seed byte) (sign func([]byte) []byte, public string) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return func(text []byte) []byte { return ed25519.Sign(key, text) },
		base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

func TestSignatures(t *testing.T) {
	b := mustBox(t, "c", key(1))
	mine, public := signerOf(1)
	others, _ := signerOf(2)
	text := []byte(`{"k":"beat","h":"h1","i":"i","n":7}`)
	signed := b.sign(text, "x", mine)
	if want := len(text) + signatureLength; len(signed) != want {
		t.Errorf("a signed message has %d bytes, not %d", len(signed), want)
	}
	if m, err := decode(signed); err != nil || m.Number != 7 {
		t.Errorf("a signed message reads %+v, %v", m, err)
	}
	tests := []struct {
		name    string
		plain   []byte
		purpose string
		cluster string
		key     string
		ok      bool
	}{
		{"the same", signed, "x", "c", public, true},
		{"no key in the record", text, "x", "c", "", true},
		{"not signed", text, "x", "c", public, false},
		{"too short", []byte(`{}`), "x", "c", public, false},
		{"empty", nil, "x", "c", public, false},
		{"another host's", b.sign(text, "x", others), "x", "c", public, false},
		{"another purpose", signed, "y", "c", public, false},
		{"another cluster", signed, "x", "d", public, false},
		{"changed", bytes.Replace(signed, []byte(`7`), []byte(`8`), 1), "x", "c", public, false},
		{"something behind it", append(bytes.Clone(signed), ' '), "x", "c", public, false},
		{"a key that is none", signed, "x", "c", "c2hvcnQ=", false},
	}
	for _, tt := range tests {
		if err := mustBox(t, tt.cluster, key(1)).verify(tt.plain, tt.purpose, tt.key); (err == nil) != tt.ok {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

// Each message of an answer is signed by the host that was asked.
func TestAnswersOfAnother(t *testing.T) {
	b := mustBox(t, "c", key(1))
	mine, public := signerOf(1)
	others, _ := signerOf(2)
	parts := []message{{Kind: have, Host: "h1", Incarnation: "i", Seq: 7, Count: 1}, {Kind: doc, Host: "h1", Incarnation: "i", Doc: document(7)}}
	tests := []struct {
		name  string
		signs [2]func([]byte) []byte
		ok    bool
	}{
		{"all signed", [2]func([]byte) []byte{mine, mine}, true},
		{"the document is not", [2]func([]byte) []byte{mine, nil}, false},
		{"the header is another's", [2]func([]byte) []byte{others, mine}, false},
	}
	for _, tt := range tests {
		asker, asked := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer asked.Close()
			sealed, err := readFrame(asked, maxQuestion)
			for i, m := range parts {
				purpose := answerPurpose(sealed, i)
				plain, _ := m.encode()
				if err != nil || writeFrame(asked, b.seal(b.sign(plain, purpose, tt.signs[i]), purpose, overlay.Keys{})) != nil {
					return
				}
			}
		}()
		docs, err := question{box: b, self: overlay.Host{Name: "h2", Incarnation: "i"}, sign: others, host: "h1", key: public}.ask(asker)
		_ = asker.Close()
		<-done
		if tt.ok != (err == nil) || tt.ok && len(docs.New) != 1 {
			t.Errorf("%s: got %+v, %v", tt.name, docs, err)
		}
	}
}
