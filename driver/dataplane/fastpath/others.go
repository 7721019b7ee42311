package fastpath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Other is a program at a link that is not weft's.
type Other struct {
	Hook string // "tcx ingress" or "tcx egress"
	Name string // as its loader has called it; "": not at all
	ID   uint32 // of the program
}

// Others lists those of the link with that index in the calling thread's namespace, in
// the order in which they see each packet.
func Others(index int) ([]Other, error) {
	var out []Other
	var errs []error
	for _, at := range []struct {
		name string
		side ebpf.AttachType
	}{{"tcx ingress", ebpf.AttachTCXIngress}, {"tcx egress", ebpf.AttachTCXEgress}} {
		all, err := programsAt(index, at.side)
		errs = append(errs, err)
		for _, p := range all {
			if !p.weft() {
				out = append(out, Other{Hook: at.name, Name: p.name, ID: uint32(p.id)})
			}
		}
	}
	return out, errors.Join(errs...)
}

// Name gives the name of the program with that id; "": it has none, or is gone.
func Name(id uint32) (string, error) {
	name, err := programName(ebpf.ProgramID(id))
	if err != nil {
		return "", fmt.Errorf("find the name of a program: %w", err)
	}
	return name, nil
}
