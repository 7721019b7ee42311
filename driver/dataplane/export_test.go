package dataplane

import (
	"os"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"

	"github.com/weft-net/weft/driver/overlay"
)

// Abandon closes the netlink socket of the interception as the kernel does it
// for a process that dies.
func (r *Resolver) Abandon() {
	r.tap.close()
	r.tap, r.full = nil, false
}

// BreakNftables has nftables answer the host's guard with an error, until it is
// called with none.
func (d *Dataplane) BreakNftables(number syscall.Errno) {
	d.border.mu.Lock()
	defer d.border.mu.Unlock()
	d.border.dial = nil
	d.border.have = nil
	if number != 0 {
		d.border.dial = append(d.border.dial, nftables.WithTestDial(func([]netlink.Message) ([]netlink.Message, error) {
			return nil, os.NewSyscallError("recvmsg", number)
		}))
	}
}

// MendGuard looks whether the host's guard is as it was left, and makes it so.
func (d *Dataplane) MendGuard() error { return d.border.mend() }

// CannotRefuse is what a kernel without nftables' reject comes to.
func (d *Dataplane) CannotRefuse() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusal = unable
}

// Lease lets packets go directly to a member, or through the tunnel again.
func (d *Dataplane) Lease(vni uint32, member overlay.NIC, on bool) error {
	plane := d.fast.told.Load().plane
	if on {
		return plane.Lease(vni, member.VTEP, member.MAC, time.Hour)
	}
	return plane.EndLease(vni, member.VTEP)
}
