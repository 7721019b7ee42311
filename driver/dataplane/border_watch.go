package dataplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	mnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// attrTable is the first attribute of tables, chains, rules, sets and elements:
// the table's name (NFTA_TABLE_NAME and its like in
// linux/netfilter/nf_tables.h).
const attrTable = unix.NFTA_TABLE_NAME

// WatchBorder makes the border again as soon as somebody else changes it, and returns nil
// when ctx ends. notify is called after each such change, for the pass that tells of it, or
// takes the tunnels down if the table cannot be made; it must not block.
func (d *Dataplane) WatchBorder(ctx context.Context, notify func()) error {
	c, err := d.dialNftables()
	if err != nil {
		// Without nftables no tunnel comes up, which each pass says.
		d.log.WithError(err).Warn("The border, nftables table inet weft, is not watched: it is looked at every few seconds only.")
		return nil
	}
	defer c.Close()
	d.border.watch(true)
	defer d.border.watch(false)
	mend := func() {
		if err := d.border.mend(); err != nil {
			d.log.WithError(err).Debug("The border is not back.")
		}
		notify()
	}
	mend() // what was touched before this began
	err = receive(ctx, c, func(msgs []mnetlink.Message, lost bool) bool {
		if lost || slices.ContainsFunc(msgs, d.touchesBorder) {
			mend()
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("watch nftables: %w", err)
	}
	return nil
}

// dialNftables opens a socket on which the kernel tells of changes of rules.
func (d *Dataplane) dialNftables() (*mnetlink.Conn, error) {
	c, err := mnetlink.Dial(unix.NETLINK_NETFILTER, &mnetlink.Config{NetNS: int(d.hostNS)})
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	if err := c.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return nil, errors.Join(fmt.Errorf("watch nftables: %w", err), c.Close())
	}
	return c, nil
}

// RemoveBorder takes the border away if no network is left: this host
// has left the cluster. The next Set makes it again.
func (d *Dataplane) RemoveBorder() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	left, err := d.namespaces()
	if err != nil || len(left) > 0 {
		return err
	}
	return d.border.remove()
}

// touchesBorder says whether the message tells of somebody else's change of the
// table.
func (d *Dataplane) touchesBorder(m mnetlink.Message) bool {
	if d.border.own.has(m.Header.PID) || len(m.Data) < nfGenMessage || m.Data[0] != unix.NFPROTO_INET {
		return false
	}
	name, ok := nftAttribute(m, attrTable)
	return ok && strings.TrimRight(string(name), "\x00") == ownTable
}
