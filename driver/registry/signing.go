package registry

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// A host signs what it tells others directly. The key is made with the first
// process that signs and stays in the host's state; the public half is in its
// record, where the others have it from.

// Sign gives this host's signature of the text.
func (d *Direct) Sign(text []byte) []byte { return ed25519.Sign(d.signs, text) }

// beginSigning takes the key from state, or makes one and gives the write that keeps
// it. seed is nil if there is none.
func (d *Direct) beginSigning(seed []byte) ([]kvstore.Op, error) {
	var ops []kvstore.Op
	if seed == nil {
		seed = make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed) // never fails (crypto/rand since Go 1.24)
		op, err := record.Put(record.StateSign, seed)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("record %s is %w: it has %d bytes", record.StateSign, ErrDamaged, len(seed))
	}
	d.signs = ed25519.NewKeyFromSeed(seed)
	d.self.Key = base64.StdEncoding.EncodeToString(d.signs.Public().(ed25519.PublicKey))
	return ops, nil
}
