package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
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

func (m Meta) ring() keys.Ring { return keys.Ring{Generation: m.Generation, Keys: m.PSK} }

func (m Meta) with(ring keys.Ring) Meta {
	m.Generation, m.PSK = ring.Generation, ring.Keys
	return m
}

// mostGenerations bounds how often the key was changed: it counts on from the highest.
const mostGenerations = 1 << 48

// stored is the cluster's identity as the store has it.
type stored struct {
	Meta
	revision uint64
}

// learnMeta reads the cluster's identity and keeps it. A record that cannot be used
// has no revision: what was known stays.
func (r *Registry) learnMeta(ctx context.Context) (stored, error) {
	pair, err := r.cluster.Get(ctx, MetaKey)
	if err != nil {
		return stored{}, fmt.Errorf("read the cluster's identity: %w", err)
	}
	meta, err := format.Decode[Meta](pair.Value)
	if err == nil && (meta.ID == "" || !meta.ULA.IsValid()) {
		err = format.Faultf(format.Senseless, "does not say which cluster this is")
	}
	if err == nil && meta.Generation > mostGenerations {
		err = format.Faultf(format.Senseless, "says that the key was changed %d times", meta.Generation)
	}
	if passed, bad := skipped.Of(MetaKey, err); bad {
		passed.Cure = cmp.Or(passed.Cure, "delete the record: a host that knows the cluster's identity writes it again")
		r.passOver(MetaKey, passed)
		return stored{}, nil
	}
	r.passOver(MetaKey)
	return stored{meta, pair.Revision}, r.adopt(ctx, meta)
}

// adopt keeps what the store says of the cluster, but for keys of before those that
// are known here.
func (r *Registry) adopt(ctx context.Context, meta Meta) error {
	defer r.change()()
	if r.meta.ID != "" && r.meta.ID != meta.ID && !r.moved {
		r.log.WithFields(map[string]any{"was": r.meta.ID, "is": meta.ID}).
			Warn("The store belongs to another cluster than before, or was wiped; this host's records are published anew.")
		r.era.doubtLocked()
		r.suspectLocked(r.era.seen)
	}
	if r.meta.ID == meta.ID {
		if _, write := r.meta.ring().Meet(meta.ring()); write {
			meta = meta.with(r.meta.ring())
			r.rotation.unmet = true
		}
	}
	if reflect.DeepEqual(meta, r.meta) {
		return nil
	}
	if err := r.putLocked(ctx, stateMeta, meta); err != nil {
		return err
	}
	r.moved = false
	r.turnLocked(meta)
	return nil
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
