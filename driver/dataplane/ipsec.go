package dataplane

import (
	"errors"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ipsecPolicies is the multicast group of a host's IPsec policies: the bit of
// XFRMNLGRP_POLICY in linux/xfrm.h.
const ipsecPolicies = 1 << (4 - 1)

// noIPsec says whether err is that of a kernel without IPsec.
func noIPsec(err error) bool { return errors.Is(err, unix.EPROTONOSUPPORT) }

// hasIPsec says whether the host has IPsec policies, by whomever. The fast path would
// go around them: what has to be encrypted would leave in plain text, and what has to
// come encrypted would be taken as it is. Which of them concern the tunnels is not
// asked; a host with any stays on the slow way. Policies of single sockets do not
// count, and a tunnel has no socket that one could be set on.
func (d *Dataplane) hasIPsec() (has bool, err error) {
	err = visit(d.hostNS, func() error {
		all, err := dump(func() ([]netlink.XfrmPolicy, error) { return netlink.XfrmPolicyList(netlink.FAMILY_ALL) })
		has = slices.ContainsFunc(all, func(p netlink.XfrmPolicy) bool { return p.Dir <= netlink.XFRM_DIR_FWD })
		return err
	})
	if noIPsec(err) {
		return false, nil
	}
	return has, err
}
