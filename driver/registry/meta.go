package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"reflect"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
)

// stored is the cluster's identity as the store has it.
type stored struct {
	record.Meta
	revision uint64
}

// learnMeta reads the cluster's identity and keeps it. A record that cannot be used
// has no revision: what was known stays.
func (k *Keyring) learnMeta(ctx context.Context) (stored, error) {
	pair, err := k.cluster.Get(ctx, record.MetaKey)
	if err != nil {
		return stored{}, fmt.Errorf("read the cluster's identity: %w", err)
	}
	meta, err := record.DecodeMeta(pair.Value)
	if passed, bad := skipped.Of(record.MetaKey, err); bad {
		passed.Cure = cmp.Or(passed.Cure, "delete the record: a host that knows the cluster's identity writes it again")
		k.passOver(record.MetaKey, passed)
		return stored{}, nil
	}
	k.passOver(record.MetaKey)
	return stored{meta, pair.Revision}, k.adopt(ctx, meta)
}

// adopt keeps what the store says of the cluster, but for keys of before those that
// are known here.
func (k *Keyring) adopt(ctx context.Context, meta record.Meta) error {
	defer k.change()()
	if k.meta.ID != "" && k.meta.ID != meta.ID && !k.storeChanged {
		k.log.WithFields(map[string]any{"was": k.meta.ID, "is": meta.ID}).
			Warn("The store belongs to another cluster than before, or was wiped; this host's records are published anew.")
		k.epochs.compareClaimsLocked()
		k.epochs.NoteLoss()
		k.epochs.tendLocked(true)
	}
	if k.meta.ID == meta.ID {
		if _, write := k.meta.Ring().Meet(meta.Ring()); write {
			meta = meta.With(k.meta.Ring())
			k.rotation.unmet = true
		}
	}
	if reflect.DeepEqual(meta, k.meta) {
		return nil
	}
	if err := k.putLocked(ctx, record.StateMeta, meta); err != nil {
		return err
	}
	k.storeChanged = false
	k.turnLocked(meta)
	return nil
}

// Meta is the cluster's identity; zero until the store has told it.
func (k *Keyring) Meta() record.Meta {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.meta
}

// ULA is the cluster's /48 for IPv6 pools.
func (k *Keyring) ULA() (netip.Prefix, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if !k.meta.ULA.IsValid() {
		return netip.Prefix{}, fmt.Errorf("the cluster's IPv6 prefix is not known yet: the store has not answered since this host joined (%w)", k.contact.last.Err)
	}
	return k.meta.ULA, nil
}

// randomULA makes a /48 of fd00::/8 with 40 random bits (RFC 4193 section 3.2).
func randomULA() netip.Prefix {
	var b [16]byte
	_, _ = rand.Read(b[1:6]) // never fails (crypto/rand since Go 1.24)
	b[0] = 0xfd
	return netip.PrefixFrom(netip.AddrFrom16(b), 48)
}
