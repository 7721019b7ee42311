package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// nameHost decides this host's name. In the cluster a host has the name that its
// state has: its addresses are claimed under that. So the machine may get another
// name under running containers.
func (c *config) nameHost(recorded string, hostname func() (string, error)) error {
	if recorded != "" {
		if c.Host != "" && c.Host != recorded {
			return fmt.Errorf("--host %q is refused: this host is %q in the cluster, as its state in %s says; leave --host out or, to give it another name, stop its containers, run `weft leave`, remove %s and start weft again",
				c.Host, recorded, c.StateDir, c.statePath())
		}
		c.Host = recorded
		return nil
	}
	why := "it is --host"
	if c.Host == "" {
		name, err := hostname()
		if err != nil {
			return fmt.Errorf("find this machine's name: %w; give one with --host", err)
		}
		c.Host, why = name, "it is the machine's"
	}
	if first, _, _ := strings.Cut(c.Host, "."); !overlay.ValidID(c.Host) || first == "localhost" {
		return fmt.Errorf("the host name %q is refused, as %s: other hosts must know this one by it, so give one of 1 to 63 letters, digits, '_', '.' or '-' that is not localhost with --host", c.Host, why)
	}
	return nil
}

// identify finds out which host this is: from its state and its machine, and from
// nothing else.
func (d *daemon) identify(ctx context.Context) error {
	machine, err := identity.Read("/", d.cfg.MachineID)
	if err != nil {
		return &exitError{code: exitUsage, err: fmt.Errorf("--machine-id is refused: %w", err)}
	}
	id, err := registry.Identify(ctx, d.state, machine, d.witness())
	if errors.Is(err, registry.ErrDamaged) {
		if err := d.renewState(ctx, err); err != nil {
			return err
		}
		id, err = registry.Identify(ctx, d.state, machine, d.witness())
	}
	if err != nil {
		return err
	}
	if err := d.cfg.nameHost(id.Name, os.Hostname); err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	if name, err := os.Hostname(); err == nil && id.Name != "" && name != id.Name {
		d.log.WithField("host", id.Name).WithField("machine", name).
			Info("This host has another name in the cluster than the machine has: the one that its state has.")
	}
	if err := id.Bind(d.cfg.Adopt); err != nil {
		return &exitError{code: exitUsage, err: fmt.Errorf("--state-dir %s: %w", d.cfg.StateDir, err)}
	}
	if !machine.Known() {
		d.log.Warn("Nothing says which machine this is, neither /etc/machine-id nor the firmware: a copy of it is only known by its address. Give it a machine-id with `systemd-machine-id-setup`, or a file with --machine-id.")
	}
	id.Name = d.cfg.Host
	d.id = id
	return nil
}

// witness names the boot of this machine and the state's file. If a process finds the
// same witness as its predecessor, it has the file that the predecessor had open, so
// the predecessor is dead.
func (d *daemon) witness() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id") // random(4)
	var file unix.Stat_t
	if err == nil {
		err = unix.Stat(d.cfg.statePath(), &file)
	}
	if err != nil {
		return rand.Text() // none
	}
	return fmt.Sprintf("%s %d:%d", strings.TrimSpace(string(boot)), file.Dev, file.Ino)
}

// takePlace waits until this process may be its host, according to the store. A
// store that does not answer is not waited for. If the state is older than the store
// was told, it is set aside like a damaged one: its stock may have addresses that were
// given out since.
func (d *daemon) takePlace(ctx context.Context) error {
	d.id.VTEP = d.self.Addr
	err := d.id.Await(ctx, d.cluster, d.cfg.bolt != "", func(err error) {
		d.log.WithError(err).Info("Another process holds the lease of this host: it is waited for its end before anything is handed out.")
	})
	if !errors.Is(err, registry.ErrOlder) {
		return err
	}
	if err := d.renewState(ctx, err); err != nil {
		return err
	}
	d.id = d.id.Anew(d.witness())
	return d.id.Await(ctx, d.cluster, d.cfg.bolt != "", nil)
}

// renewState sets this host's state aside and begins a new one.
func (d *daemon) renewState(ctx context.Context, why error) error {
	if err := d.state.Close(); err != nil {
		return err
	}
	if err := setAside(d.cfg.statePath(), why, d.log); err != nil {
		return err
	}
	return d.openState(ctx)
}
