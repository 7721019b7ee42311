package fastpath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Hook is a place where a program of the fast path hangs: the ingress of a link.
type Hook uint8

// The hooks.
const (
	FromPort   Hook = iota // of a port, in the network's namespace
	ToPort                 // of the network's end of its pair, in the same namespace
	ToWire                 // of the host's end of the pair, in the host's namespace
	FromWire               // of the underlay's interface, in the host's namespace
	FromTunnel             // of the VXLAN device, in the network's namespace
)

// Attach hangs the program of the hook at the link with that index in the calling
// thread's namespace, in the place of another weft's if there is one. vni is that of
// the network, for FromPort and FromTunnel; fresh says that the link was just made and
// nothing is sent by it yet. changed says that the program was not there.
func (p *Plane) Attach(hook Hook, vni uint32, index int, fresh bool) (changed bool, err error) {
	want, err := p.program(hook, vni)
	if err != nil {
		return false, err
	}
	id, err := programID(want)
	if err != nil {
		return false, err
	}
	have, err := filters(index)
	if err != nil {
		return false, err
	}
	if p.tcx && !fresh && len(have) == 0 {
		changed, err = attachOrdered(want, id, index)
	} else {
		changed, err = attachFilter(want, id, have, index, hook)
	}
	if err != nil {
		return changed, fmt.Errorf("attach program %s to link %d: %w", hook, index, err)
	}
	return changed, nil
}

// Detach takes all programs of weft's, whichever process has hung them there, from the
// link with that index in the calling thread's namespace.
func Detach(index int) error {
	return errors.Join(detachOrdered(index), detachFilters(index))
}

func (p *Plane) program(hook Hook, vni uint32) (*ebpf.Program, error) {
	switch hook {
	case ToPort:
		return p.objects.WeftToPort, nil
	case ToWire:
		return p.objects.WeftToWire, nil
	case FromWire:
		return p.objects.WeftFromWire, nil
	case FromPort, FromTunnel:
	}
	n := p.networks[vni]
	if n == nil {
		return nil, fmt.Errorf("the fast path does not have VNI %d", vni)
	}
	if hook == FromTunnel {
		return n.programs.FromTunnel, nil
	}
	return n.programs.FromPort, nil
}

// String names the hook's program.
func (h Hook) String() string {
	return [...]string{programsProgWeftFromPort, programsProgWeftToPort, programsProgWeftToWire, programsProgWeftFromWire, programsProgWeftFromTunnel}[h]
}
