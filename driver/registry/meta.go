package registry

import (
	"cmp"
	"context"
	"fmt"
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
func (r *Registry) learnMeta(ctx context.Context) (stored, error) {
	pair, err := r.cluster.Get(ctx, record.MetaKey)
	if err != nil {
		return stored{}, fmt.Errorf("read the cluster's identity: %w", err)
	}
	meta, err := record.DecodeMeta(pair.Value)
	if passed, bad := skipped.Of(record.MetaKey, err); bad {
		passed.Cure = cmp.Or(passed.Cure, "delete the record: a host that knows the cluster's identity writes it again")
		r.passOver(record.MetaKey, passed)
		return stored{}, nil
	}
	r.passOver(record.MetaKey)
	return stored{meta, pair.Revision}, r.adopt(ctx, meta)
}

// adopt keeps what the store says of the cluster, but for keys of before those that
// are known here.
func (r *Registry) adopt(ctx context.Context, meta record.Meta) error {
	defer r.change()()
	if r.meta.ID != "" && r.meta.ID != meta.ID && !r.storeChanged {
		r.log.WithFields(map[string]any{"was": r.meta.ID, "is": meta.ID}).
			Warn("The store belongs to another cluster than before, or was wiped; this host's records are published anew.")
		r.compareClaimsLocked()
		r.epoch.NoteLoss()
		r.tendLocked(true)
	}
	if r.meta.ID == meta.ID {
		if _, write := r.meta.Ring().Meet(meta.Ring()); write {
			meta = meta.With(r.meta.Ring())
			r.rotation.unmet = true
		}
	}
	if reflect.DeepEqual(meta, r.meta) {
		return nil
	}
	if err := r.putLocked(ctx, record.StateMeta, meta); err != nil {
		return err
	}
	r.storeChanged = false
	r.turnLocked(meta)
	return nil
}
