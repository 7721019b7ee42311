package push

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
)

// version begins each message; another one is another protocol.
const version = 1

// overhead is what sealing adds: version, nonce and tag.
const overhead = 1 + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// errForged is the error for a message that no host of the cluster has made
// for this purpose.
var errForged = errors.New("not sealed by a host of this cluster")

// box seals and opens messages of one cluster.
type box struct {
	cluster string
	ring    keys.Ring
	keys    []sealKey // those of the ring, and then the former ones; not empty
}

type sealKey struct {
	cipher.AEAD
	text, id string
}

// newBox takes the cluster's id and its keys, 32 bytes in base64 each. By the former
// ones nothing is sealed.
func newBox(cluster string, ring keys.Ring, former ...string) (*box, error) {
	b := &box{cluster: cluster, ring: ring}
	for i, text := range slices.Concat(ring.Keys, former) {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("key %d of the cluster is not base64", i+1) // the cause would show a part of it
		}
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("key %d of the cluster: %w", i+1, err)
		}
		b.keys = append(b.keys, sealKey{AEAD: aead, text: text, id: keys.ID(text)})
	}
	if len(ring.Keys) == 0 {
		return nil, errors.New("the cluster has no keys for direct messages")
	}
	return b, nil
}

// seal makes a message that opens only for the same purpose, for a host with these keys.
func (b *box) seal(plain []byte, purpose string, to overlay.Keys) []byte {
	out := make([]byte, 1+chacha20poly1305.NonceSizeX, overhead+len(plain))
	out[0] = version
	nonce := out[1:]
	_, _ = rand.Read(nonce) // never fails (crypto/rand since Go 1.24)
	text := b.ring.For(to)
	i := slices.IndexFunc(b.keys, func(k sealKey) bool { return k.text == text })
	return b.keys[i].Seal(out, nonce, plain, b.bound(purpose))
}

// open gives what was sealed, with any of the keys, and the id of that one.
func (b *box) open(sealed []byte, purpose string) (plain []byte, key string, err error) {
	if len(sealed) < overhead || sealed[0] != version {
		return nil, "", errForged
	}
	nonce, rest := sealed[1:1+chacha20poly1305.NonceSizeX], sealed[1+chacha20poly1305.NonceSizeX:]
	for _, key := range b.keys {
		if plain, err := key.Open(nil, nonce, rest, b.bound(purpose)); err == nil {
			return plain, key.id, nil
		}
	}
	return nil, "", errForged
}

// bound is what a message is bound to beside the key.
func (b *box) bound(purpose string) []byte {
	return []byte(b.cluster + "\x00" + purpose)
}
