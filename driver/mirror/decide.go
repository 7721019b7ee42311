package mirror

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/mirror/match"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// kind is what an action does.
type kind string

const (
	doName   kind = "name"   // publish the name that Docker has
	doCreate kind = "create" // create the cluster's network in Docker
	doRemove kind = "remove" // remove from Docker what is gone from the cluster, or there twice
	doDetach kind = "detach" // forget a network that Docker has lost
	doAttach kind = "attach" // take over a network that this host's state has lost
	doRemake kind = "remake" // record in the cluster a network that nobody has a record of
	doReport kind = "report" // only a person can help
)

// While Docker creates or removes a network, some actions would be wrong for a
// moment. They must be wanted for that long before they are done.
const (
	lostFor    = 30 * time.Second // a network that is being created is not listed yet
	brokenFor  = time.Second      // a network whose creation an earlier weft answered is listed by then
	unknownFor = 5 * time.Second  // a network that is being removed is still listed
	remakeFor  = time.Second      // a host that has not lost its state records it first
)

// action is one thing to do, about one network.
type action struct {
	kind    kind
	docker  engine.Network  // zero for create
	network overlay.Network // zero for report, and if nobody knows
	after   time.Duration   // how long it must be wanted without a break
	kernel  overlay.Remains // attach, remake: what the kernel has of it
	why     string          // report: the sentence; remove: the reason
}

// subject is what the action is about, for status and log.
func (a action) subject() string {
	return cmp.Or(a.network.Name, a.docker.Name, a.network.ID, a.docker.ID)
}

// key tells actions apart.
func (a action) key() string {
	return string(a.kind) + " " + a.docker.ID + " " + a.network.ID + " " + a.why
}

// decide says what there is to do so that Docker and the cluster agree. There
// is at most one action for each name, so they may be done in any order.
func decide(driver string, docker []engine.Network, v match.View) []action {
	d := decision{driver: engine.DriverName(driver), view: v, byName: map[string][]engine.Network{}, here: map[string]bool{}, named: map[string]bool{}}
	for _, id := range slices.Sorted(maps.Keys(v.Docker)) {
		d.here[v.Docker[id].ID] = true
	}
	docker = slices.SortedFunc(slices.Values(docker), func(a, b engine.Network) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	listed := map[string]bool{}
	for _, n := range docker {
		listed[n.ID] = true
		d.byName[n.Name] = append(d.byName[n.Name], n)
	}
	for _, n := range docker {
		if n.Driver != d.driver {
			continue
		}
		if record, known := v.Docker[n.ID]; known {
			d.known(n, record.Network)
		} else {
			d.unknown(n)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.Docker)) {
		if !listed[id] {
			d.lost(id, v.Docker[id])
		}
	}
	for _, n := range v.Live {
		if n.Name != "" && !n.Swarm && !d.here[n.ID] {
			d.absent(n)
		}
	}
	return d.actions
}

type decision struct {
	driver  string
	view    match.View
	byName  map[string][]engine.Network
	here    map[string]bool // weft ids that this host's Docker has
	named   map[string]bool // names that an action publishes
	actions []action
}

func (d *decision) add(a action) { d.actions = append(d.actions, a) }

// known decides about a Docker network that weft has a record of.
func (d *decision) known(n engine.Network, record overlay.Network) {
	switch {
	case !record.Deleted.IsZero() && n.Swarm:
	case !record.Deleted.IsZero():
		d.add(action{kind: doRemove, docker: n, network: record, why: "it was removed from the cluster"})
	case record.Name == "" && !d.named[n.Name]:
		d.named[n.Name] = true
		d.add(action{kind: doName, docker: n, network: record})
	}
}

// unknown decides about a Docker network of weft's that weft has no record of.
func (d *decision) unknown(n engine.Network) {
	record, ok := d.view.Find(n)
	kernel, running := d.view.Kernel[n.ID]
	tombstone, removed := d.view.Removed(n)
	switch {
	case running && !ok && !d.taken(n): // its containers wait
		d.add(action{kind: doRemake, docker: n, kernel: kernel, after: remakeFor})
	case n.Swarm && (!d.view.Lost || !ok || d.here[record.ID]): // a manager lists networks that it has no task in
	case ok && d.here[record.ID]:
		d.add(action{kind: doRemove, docker: n, network: record, after: unknownFor, why: "this host's Docker has it twice"})
	case ok:
		d.here[record.ID] = true
		after := unknownFor
		if d.view.Lost { // then that is why, and its containers wait
			after = 0
		}
		d.add(action{kind: doAttach, docker: n, network: record, kernel: kernel, after: after})
	case removed && !running:
		d.add(action{kind: doRemove, docker: n, network: tombstone, after: unknownFor, why: "it was removed from the cluster while this host had no record of it"})
	case d.twin(n):
		d.add(action{kind: doRemove, docker: n, after: unknownFor, why: "another network of this host has its name"})
	case d.older(n) && !d.taken(n):
		if !d.view.Frozen { // else another host may know it better
			d.add(action{kind: doRemake, docker: n, after: unknownFor})
		}
	default:
		why := fmt.Sprintf("Docker's network %q (%.12s) uses weft, but weft has no record of it", n.Name, n.ID)
		if id := n.Options[option.ID]; id != "" {
			why += fmt.Sprintf(", and the cluster has no network %q", id)
		}
		d.add(action{kind: doReport, docker: n, after: unknownFor, why: why + fmt.Sprintf(": remove it with `docker network rm %s`, and create it again if it is needed", n.Name)})
	}
}

// taken says whether another network of the cluster has n's name.
func (d *decision) taken(n engine.Network) bool {
	_, taken := d.view.Named(n.Name)
	return taken
}

// older says whether the store may have lost its record of n: n was made before
// the store's epoch began.
func (d *decision) older(n engine.Network) bool {
	return !n.Created.IsZero() && n.Created.Before(d.view.Epoch)
}

// twin says whether weft has a record of another Docker network with n's name.
func (d *decision) twin(n engine.Network) bool {
	return slices.ContainsFunc(d.byName[n.Name], func(o engine.Network) bool {
		_, known := d.view.Docker[o.ID]
		return o.ID != n.ID && known
	})
}

// lost decides about a network that Docker should have and does not list. If weft
// ended while it mirrored the network, Docker has given it up, since it repeats a
// call for 15 s only. If Docker is still creating it, it is taken over when it is
// listed. A network without a name would be gone for good, so it has longer.
func (d *decision) lost(id string, record registry.InDocker) {
	a := action{kind: doDetach, docker: engine.Network{ID: id}, network: record.Network, after: lostFor}
	if record.Name != "" && record.Earlier {
		a.after = brokenFor
	}
	d.add(a)
}

// absent decides about a network of the cluster that this host does not have.
func (d *decision) absent(n overlay.Network) {
	taken := d.byName[n.Name]
	if len(taken) == 0 {
		d.add(action{kind: doCreate, network: n})
		return
	}
	by := taken[0]
	for _, o := range taken {
		if o.Driver != d.driver || o.Swarm {
			by = o
		}
	}
	record, known := d.view.Docker[by.ID]
	switch {
	case by.Swarm:
		d.add(action{kind: doReport, docker: by, network: n, why: fmt.Sprintf(
			"network %q of the cluster (created on host %s) cannot be mirrored to this host: Swarm has a network of that name; remove or rename one of the two",
			n.Name, n.Host)})
	case by.Driver != d.driver:
		d.add(action{kind: doReport, docker: by, network: n, why: fmt.Sprintf(
			"network %q of the cluster (created on host %s) cannot be mirrored to this host: its Docker has a network of that name with driver %q, which weft leaves alone; remove or rename one of the two",
			n.Name, n.Host, by.Driver)})
	case known && record.Deleted.IsZero() && record.Name != "":
		d.add(action{kind: doReport, docker: by, network: n, after: unknownFor, why: fmt.Sprintf(
			"network %q of the cluster (created on host %s) cannot be mirrored to this host: its Docker has joined network %q under that name; remove that one with `docker network rm %s`",
			n.Name, n.Host, record.Name, by.ID[:min(12, len(by.ID))])})
	}
	// Otherwise there is an action about Docker's network of that name, and the next
	// pass sees what has come of it.
}
