package fastpath

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weft-net/weft/driver/overlay"
)

// Lease lets packets of the network go to the member without a tunnel, by its MAC, for d
// from now. It may be called while a pass uses the Plane.
func (p *Plane) Lease(vni uint32, member netip.Addr, mac overlay.MAC, d time.Duration) error {
	now, err := monotonic()
	if err != nil {
		return err
	}
	v := programsLease{Until: uint64(now + d), Mac: mac} //nolint:gosec // neither is negative
	if err := p.objects.WeftLeases.Update(leaseKey(vni, member), v, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("let packets of VNI %d go directly to %s: %w", vni, member, err)
	}
	return nil
}

// EndLease sends them through the tunnel again.
func (p *Plane) EndLease(vni uint32, member netip.Addr) error {
	if err := p.objects.WeftLeases.Delete(leaseKey(vni, member)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("send packets of VNI %d through the tunnel to %s: %w", vni, member, err)
	}
	return nil
}

func leaseKey(vni uint32, member netip.Addr) programsMemberKey {
	k := programsMemberKey{Vni: vni}
	k.Vtep.Word = words(member)
	return k
}
