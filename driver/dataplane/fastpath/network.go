package fastpath

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"
)

// network is what this process has made of one.
type network struct {
	inner    int
	programs networkPrograms
	tables   tables
}

// networkPrograms have the network's constants.
type networkPrograms struct {
	FromPort   *ebpf.Program `ebpf:"weft_from_port"`
	FromTunnel *ebpf.Program `ebpf:"weft_from_tunnel"`
}

func (n *network) close() error {
	return errors.Join(n.programs.FromPort.Close(), n.programs.FromTunnel.Close())
}

// SetNetwork makes the tables hold n. loaded says that its programs are new, and have
// to be hung at all of its links. Its ports send the fast way once Attach has
// hung the program there. After an error the network has no entry that is wrong: it takes
// the slow way.
func (p *Plane) SetNetwork(n Network) (loaded bool, err error) {
	known := p.networks[n.VNI]
	if known != nil && known.inner != n.Inner {
		if err := p.RemoveNetwork(n.VNI); err != nil {
			return false, err
		}
		known = nil
	}
	if known == nil {
		programs, err := p.load(n)
		if err != nil {
			return false, err
		}
		loaded = true
		known = &network{inner: n.Inner, programs: programs, tables: Network{}.tables()}
		p.networks[n.VNI] = known
	}
	want := n.tables()
	if err = p.reach(want, known.tables); err == nil {
		known.tables = want
		return loaded, nil
	}
	maps.Copy(known.tables.ports, want.ports) // some of it may be there
	maps.Copy(known.tables.places, want.places)
	maps.Copy(known.tables.members, want.members)
	maps.Copy(known.tables.homes, want.homes)
	maps.Copy(known.tables.nics, want.nics)
	return false, errors.Join(err, p.RemoveNetwork(n.VNI))
}

// reach brings the tables of one network from have to want.
func (p *Plane) reach(want, have tables) error {
	return errors.Join(
		reach(p.objects.WeftPorts, want.ports, have.ports),
		reach(p.objects.WeftMembers, want.members, have.members),
		reach(p.objects.WeftPlaces, want.places, have.places),
		reach(p.objects.WeftNics, want.nics, have.nics),
		reach(p.objects.WeftHomes, want.homes, have.homes),
	)
}

// RemoveNetwork takes a network out of the tables.
func (p *Plane) RemoveNetwork(vni uint32) error {
	n := p.networks[vni]
	if n == nil {
		return nil
	}
	if err := p.reach(tables{}, n.tables); err != nil {
		return err
	}
	delete(p.networks, vni)
	return n.close()
}

// Networks gives the VNIs that the tables have.
func (p *Plane) Networks() []uint32 {
	out := make([]uint32, 0, len(p.networks))
	for vni := range p.networks {
		out = append(out, vni)
	}
	return out
}

// load makes the programs of a network.
func (p *Plane) load(n Network) (out networkPrograms, err error) {
	spec := p.spec.Copy()
	for name, value := range map[string]uint32{programsVarVni: n.VNI, programsVarInner: uint32(n.Inner)} { //nolint:gosec // an index
		if err := spec.Variables[name].Set(value); err != nil {
			return out, fmt.Errorf("write constant %s of the fast path: %w", name, err)
		}
	}
	shared := map[string]*ebpf.Map{
		programsMapWeftHost: p.objects.WeftHost, programsMapWeftPorts: p.objects.WeftPorts,
		programsMapWeftPlaces: p.objects.WeftPlaces, programsMapWeftCounts: p.objects.WeftCounts,
		programsMapWeftHomes: p.objects.WeftHomes, programsMapWeftLeases: p.objects.WeftLeases,
	}
	if err := spec.LoadAndAssign(&out, &ebpf.CollectionOptions{MapReplacements: shared}); err != nil {
		return out, fmt.Errorf("load the fast path's programs of VNI %d: %w", n.VNI, err)
	}
	return out, nil
}
