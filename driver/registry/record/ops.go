package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/weft-net/weft/kvstore"
)

// Put gives the operation that sets the key to v.
func Put(key string, v any) (kvstore.Op, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return kvstore.Op{}, fmt.Errorf("encode %s: %w", key, err)
	}
	return kvstore.Op{Kind: kvstore.Set, Key: key, Value: b}, nil
}

// Delete gives the operation that deletes the key.
func Delete(key string) kvstore.Op { return kvstore.Op{Kind: kvstore.Delete, Key: key} }

// Digest is a short fingerprint of a record's bytes, by which peers see that the
// record has changed.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}
