package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
)

// stateFile is the host's durable state inside --state-dir.
const stateFile = "state.db"

func (c *config) statePath() string { return filepath.Join(c.StateDir, stateFile) }

// openBolt opens a file. A damaged file is set aside and replaced by a new one: what
// was in it comes back from Docker, the kernel and the cluster.
func openBolt(path string, log logrus.FieldLogger) (kvstore.Store, error) {
	s, err := bolt.Open(path)
	if errors.Is(err, bolt.ErrCorrupt) {
		if err := setAside(path, err, log); err != nil {
			return nil, err
		}
		s, err = bolt.Open(path)
	}
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOSPC), errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: weft keeps records there and must be able to write", err)
	}
	return nil, err
}

// asideSuffix is behind the name of a file that is set aside, before the time.
const asideSuffix = ".corrupt-"

// setAside renames a damaged file, and says so.
func setAside(path string, why error, log logrus.FieldLogger) error {
	aside := path + asideSuffix + time.Now().UTC().Format("20060102T150405.000Z")
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("set the damaged file %s aside: %w", path, err)
	}
	log.WithError(why).WithField("kept", aside).
		Error("A file of weft's records is damaged or old. It is kept aside, and its records are made anew from Docker, the kernel and the cluster.")
	return nil
}

func (d *daemon) openStores(ctx context.Context) error {
	if err := os.MkdirAll(d.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	if err := d.openState(ctx); err != nil {
		return err
	}
	if err := d.identify(ctx); err != nil {
		return err
	}
	var err error
	if d.self, err = d.firstUnderlay(ctx); err != nil {
		return err
	}
	d.found = d.self
	store, err := openCluster(d.cfg, d.self.Addr, d.log, d.metrics.Request)
	if err != nil {
		return err
	}
	d.onClose(store.Close)
	guarded := format.Guard(store, record.MetaKey)
	d.cluster = guarded
	if err := guarded.Check(ctx, metaTime); err != nil {
		return err
	}
	if err := d.takePlace(ctx); err != nil {
		return err
	}
	d.recordUnderlay(ctx, d.self)
	return nil
}

// metaTime is how long the start waits for the store to say whether this weft is too
// old for the cluster. If the store is away, it is asked before the first write.
const metaTime = 500 * time.Millisecond

// openState opens this host's state, and refuses one of a later weft.
func (d *daemon) openState(ctx context.Context) (err error) {
	if d.state, err = openBolt(d.cfg.statePath(), d.log); err != nil {
		return fmt.Errorf("open this host's state: %w", err)
	}
	d.onClose(d.state.Close)
	return format.CheckState(ctx, d.state)
}

// openRecords reads this host's state. If the file is whole and its records are not,
// it counts as a damaged file.
func (d *daemon) openRecords(ctx context.Context) error {
	err := d.readRecords(ctx)
	if !errors.Is(err, registry.ErrDamaged) && !errors.Is(err, ipam.ErrDamaged) {
		return err
	}
	if err := d.renewState(ctx, err); err != nil {
		return err
	}
	d.id = d.id.Anew(d.witness())
	return d.readRecords(ctx)
}

// trustState ends the wait for Docker's word after a loss of state, if there is no
// Docker to ask and nothing that could be lost.
func (d *daemon) trustState(ctx context.Context) error {
	if lost, _ := d.registry.Rebuilding(); !lost {
		return nil
	}
	left, err := d.kernel.Networks()
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return d.registry.Rebuilt(ctx)
	}
	d.log.WithField("networks", left).
		Error("This host's state was lost, and without --docker weft cannot tell which containers it has: nothing of weft's is removed from the kernel until weft has run once with --docker, or has started without containers.")
	return nil
}
