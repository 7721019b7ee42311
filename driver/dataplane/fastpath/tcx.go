package fastpath

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// prefix begins the names of weft's programs. Older and newer ones have the same
// names, and one takes the place of the other.
const prefix = "weft_"

// attachOrdered hangs a program at a link where others have theirs (tcx), behind these:
// they see each packet first.
func attachOrdered(want *ebpf.Program, id ebpf.ProgramID, index int) (changed bool, err error) {
	have, err := attached(index)
	if err != nil {
		return false, err
	}
	if slices.Equal(have, []ebpf.ProgramID{id}) {
		return false, nil
	}
	anchor := link.Tail()
	if len(have) > 0 {
		former, err := ebpf.NewProgramFromID(have[0])
		if err != nil {
			return true, fmt.Errorf("replace program %d: %w", have[0], err)
		}
		defer former.Close()
		anchor, have = link.ReplaceProgram(former), have[1:]
	}
	err = link.RawAttachProgram(link.RawAttachProgramOptions{Target: index, Program: want, Attach: ebpf.AttachTCXIngress, Anchor: anchor})
	if err != nil {
		return true, err
	}
	return true, detach(index, have)
}

// detachOrdered takes weft's programs of that kind from a link.
func detachOrdered(index int) error {
	have, err := attached(index)
	if err != nil {
		return err
	}
	return detach(index, have)
}

func detach(index int, list []ebpf.ProgramID) error {
	var errs []error
	for _, id := range list {
		p, err := ebpf.NewProgramFromID(id)
		if err == nil {
			err = link.RawDetachProgram(link.RawDetachProgramOptions{Target: index, Program: p, Attach: ebpf.AttachTCXIngress})
			p.Close()
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("detach program %d from link %d: %w", id, index, err))
		}
	}
	return errors.Join(errs...)
}

// attached gives weft's programs at a link.
func attached(index int) (out []ebpf.ProgramID, err error) {
	all, err := programsAt(index, ebpf.AttachTCXIngress)
	for _, p := range all {
		if p.weft() {
			out = append(out, p.id)
		}
	}
	return out, err
}

// hung is a program at a link.
type hung struct {
	id   ebpf.ProgramID
	name string // "": it has none, or has just gone
}

func (h hung) weft() bool { return strings.HasPrefix(h.name, prefix) }

// programsAt lists the programs at one side of a link, in the order in which they see
// each packet.
func programsAt(index int, side ebpf.AttachType) ([]hung, error) {
	all, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: side})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
		return nil, nil // none, nor has a link that is gone any, nor one of a kernel without tcx
	}
	if err != nil {
		return nil, fmt.Errorf("list programs at link %d: %w", index, err)
	}
	var out []hung
	for _, a := range all.Programs {
		name, err := programName(a.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, hung{a.ID, name})
	}
	return out, nil
}

func programName(id ebpf.ProgramID) (string, error) {
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, unix.ENOENT) {
		return "", nil // it has just gone
	}
	if err != nil {
		return "", fmt.Errorf("look at program %d: %w", id, err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", fmt.Errorf("look at program %d: %w", id, err)
	}
	return info.Name, nil
}

func programID(p *ebpf.Program) (ebpf.ProgramID, error) {
	info, err := p.Info()
	if err != nil {
		return 0, fmt.Errorf("look at a program of the fast path: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("the kernel tells no ids of programs")
	}
	return id, nil
}
