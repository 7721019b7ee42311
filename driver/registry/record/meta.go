package record

import (
	"encoding/json"
	"net/netip"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
)

// Meta is the cluster's identity.
type Meta struct {
	ID  string       `json:"id"`
	ULA netip.Prefix `json:"ula"` // /48 from which IPv6 pools come (RFC 4193)

	// PSK are the keys by which hosts know each other's direct messages, 32
	// random bytes in base64 each: all are taken, the first is the newest.
	PSK []string `json:"psk,omitempty"`

	// Generation is how many keys came after the first one, see driver/keys.
	Generation uint64 `json:"generation,omitempty"`

	Rest overlay.Rest `json:"-"`
}

// Ring are the keys of direct messages.
func (m Meta) Ring() keys.Ring { return keys.Ring{Generation: m.Generation, Keys: m.PSK} }

// With is the same cluster with other keys of direct messages.
func (m Meta) With(ring keys.Ring) Meta {
	m.Generation, m.PSK = ring.Generation, ring.Keys
	return m
}

// mostGenerations bounds how often the key was changed: it counts on from the highest.
const mostGenerations = 1 << 48

// DecodeMeta decodes the cluster's identity, or says with a format.Fault why it cannot
// be used.
func DecodeMeta(value []byte) (Meta, error) {
	m, err := format.Decode[Meta](value)
	switch {
	case err != nil:
		return Meta{}, err
	case m.ID == "" || !m.ULA.IsValid():
		return Meta{}, format.Faultf(format.Senseless, "does not say which cluster this is")
	case m.Generation > mostGenerations:
		return Meta{}, format.Faultf(format.Senseless, "says that the key was changed %d times", m.Generation)
	}
	return m, nil
}

// MarshalJSON implements json.Marshaler.
func (m Meta) MarshalJSON() ([]byte, error) {
	type plain Meta
	return overlay.MarshalRest(plain(m), m.Rest)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Meta) UnmarshalJSON(b []byte) (err error) {
	type plain Meta
	var p plain
	rest, err := overlay.UnmarshalRest(b, &p)
	*m = Meta(p)
	m.Rest = rest
	return err
}

var (
	_ json.Marshaler   = Meta{}
	_ json.Unmarshaler = (*Meta)(nil)
)
