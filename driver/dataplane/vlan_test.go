package dataplane_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// A bridge of an earlier weft, on a kernel that can filter VLANs, has each of its entries
// in VLAN 1 as well. No pass takes that for a change, and both go as one.
func TestEntriesInAVLANAreNoDrift(t *testing.T) {
	hosts := newHosts(t, 2)
	spread(t, hosts, true)
	h := hosts[0]
	h.netlink("net1", func(nl *netlink.Handle) error {
		vx, err := nl.LinkByName(overlay.VXLAN)
		if err != nil {
			return err
		}
		if err := nl.BridgeVlanAdd(vx, 1, true, true, false, true); !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		return nil // nor can this kernel's bridges have an entry in a VLAN
	})
	n := &h.cfg.Networks[0]
	was := slices.Clone(n.Remotes)
	for i := range 3 {
		n.Remotes = append(n.Remotes, remote(port("net1", fmt.Sprint("more", i), fmt.Sprintf("10.9.0.%d/24", 20+i)), vtep(2)))
	}
	slices.SortFunc(n.Remotes, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	h.set()
	for range 2 {
		if r := h.verify(); r.Repairs != 0 {
			t.Errorf("repaired %q", r.Repaired)
		}
	}
	n.Remotes = was
	h.set()
	h.verify()
	var left []string
	h.netlink("net1", func(nl *netlink.Handle) error {
		list, err := nl.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE})
		for _, e := range list {
			if slices.ContainsFunc([]string{"10.9.0.20", "10.9.0.21", "10.9.0.22"}, func(a string) bool { return e.HardwareAddr.String() == overlay.MACOf("net1", ip(a)).String() }) {
				left = append(left, fmt.Sprint(e.HardwareAddr, " in VLAN ", e.Vlan))
			}
		}
		return err
	})
	if left != nil {
		t.Errorf("left are %q", left)
	}
}
