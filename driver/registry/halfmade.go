package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// giveUp has a network taken back that Docker does not have. It was published, or may
// have been, or the write may come late.
func (m maker) giveUp(n overlay.Network) {
	m.mu.Lock()
	if n.ID != "" {
		m.halfMade[n.ID] = n
		m.rereadStore = true // the write may come late
	}
	m.mu.Unlock()
	m.local.send()
}

// settleHalfMade takes back the networks that were published here without
// becoming Docker's, since a call failed or the process died between the two.
// Nobody else would: they have no name, so no host mirrors them.
func (p *publisher) settleHalfMade(ctx context.Context) error {
	p.mu.RLock()
	all := maps.Clone(p.halfMade)
	p.mu.RUnlock()
	for id, made := range all {
		if err := p.takeBack(ctx, made); err != nil && !p.skips(id, err) {
			return fmt.Errorf("take back network %q, which was not made to its end: %w", id, err)
		}
	}
	return nil
}

func (p *publisher) takeBack(ctx context.Context, made overlay.Network) error {
	n, revision, err := p.readNetwork(ctx, made.ID)
	switch {
	case errors.Is(err, kvstore.ErrNotFound):
		if p.lateWrites() {
			return nil // it may come yet
		}
		return p.forgetHalfMade(ctx, made.ID)
	case err != nil:
		return err
	case n.Host != made.Host || !n.Created.Equal(made.Created) || n.Name != "" || !n.Deleted.IsZero() || p.Attached(made.ID):
		return p.forgetHalfMade(ctx, made.ID) // it is another, or whole, or gone
	}
	n.Deleted = time.Now().UTC()
	n.Version++
	write, err := record.WriteNetwork(n, revision)
	if err != nil {
		return err
	}
	// Its pool is Docker's to release, or the IPAM side's.
	if _, err := p.cluster.Txn(ctx, write, record.Delete(record.VNIKey(n.VNI))); err != nil {
		return err
	}
	p.log.WithField("id", n.ID).Warn("A network that was not made to its end on this host is taken back.")
	if err := p.learn(ctx, n); err != nil {
		return err
	}
	return p.forgetHalfMade(ctx, n.ID)
}

func (p *publisher) forgetHalfMade(ctx context.Context, id string) error {
	defer p.change()()
	if err := p.commitLocked(ctx, record.Delete(record.StateMaking+id)); err != nil {
		return err
	}
	delete(p.halfMade, id)
	return nil
}
