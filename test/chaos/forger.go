package chaos

import (
	"context"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/weft-net/weft/kvstore/bolt"
	"github.com/weft-net/weft/test/lab"
)

// pushPort is where hosts tell each other directly what has changed.
const pushPort = 7947

// forger is somebody who has the cluster's key, and perhaps one by which a host signs.
type forger struct {
	cluster string
	aead    cipher.AEAD
	signer  ed25519.PrivateKey // nil: it does not sign
}

// forger takes the key that the store has.
func (r *runner) forger(ctx context.Context) (forger, error) {
	c, err := r.leading(ctx)
	if err != nil {
		return forger{}, err
	}
	text, err := c.Request(ctx, http.MethodGet, "/v1/kv/weft/meta?raw", nil)
	var meta struct {
		ID  string
		PSK []string
	}
	if err == nil {
		err = json.Unmarshal(text, &meta)
	}
	if err == nil && len(meta.PSK) == 0 {
		err = errors.New("the cluster has no key")
	}
	if err != nil {
		return forger{}, err
	}
	key, err := base64.StdEncoding.DecodeString(meta.PSK[0])
	if err != nil {
		return forger{}, err
	}
	aead, err := chacha20poly1305.NewX(key)
	return forger{cluster: meta.ID, aead: aead}, err
}

// seal makes a message as hosts do, see driver/push.
func (f forger) seal(m map[string]any, purpose string) ([]byte, error) {
	plain, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if f.signer != nil {
		plain = plain[:len(plain)-1]
		text := append(append([]byte("weft direct message\x00"), f.cluster...), 0, 0, byte(len(purpose))) //nolint:gosec // it is short
		text = append(append(text, purpose...), plain...)
		plain = fmt.Appendf(plain, `,"sig":"%s"}`, base64.RawStdEncoding.EncodeToString(ed25519.Sign(f.signer, text)))
	}
	out := make([]byte, 1+chacha20poly1305.NonceSizeX)
	out[0] = 1
	_, _ = rand.Read(out[1:])
	return f.aead.Seal(out, out[1:], plain, []byte(f.cluster+"\x00"+purpose)), nil
}

// send sends datagrams from a host's own address.
func send(ctx context.Context, from, to *lab.Host, datagrams ...[]byte) error {
	conn, err := from.DialContext(ctx, "udp4", fmt.Sprintf("%s:%d", to.Addr(), pushPort))
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, b := range datagrams {
		_, _ = conn.Write(b) // that nobody listens is told with the next one
	}
	return nil
}

// answered asks for documents from a host's own address, and says whether anything
// came back.
func (f forger) answered(ctx context.Context, from, to *lab.Host, m map[string]any) (bool, error) {
	sealed, err := f.seal(m, "question to "+to.Name())
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp4", fmt.Sprintf("%s:%d", to.Addr(), pushPort))
	if err != nil {
		return false, nil //nolint:nilerr // it is cut off, or weft is not there
	}
	defer conn.Close()
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(sealed))), sealed...)) //nolint:gosec // it is short
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	n, err := conn.Read(make([]byte, 4))
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return false, nil // as one that is cut off
	}
	return n > 0, nil
}

// signing reads the key by which the host signs from its state.
func signing(h *lab.Host) (ed25519.PrivateKey, error) {
	text, err := frozen(h)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "weft-chaos-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "state.db")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	s, err := bolt.Open(path)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	p, err := s.Get(context.Background(), "sign")
	var seed []byte
	if err == nil {
		err = json.Unmarshal(p.Value, &seed)
	}
	if err == nil && len(seed) != ed25519.SeedSize {
		err = fmt.Errorf("%s has no key to sign with", h.Name())
	}
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
