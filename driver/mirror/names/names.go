package names

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// An endpoint that Docker does not show is forgotten once it was missing for
// missingFor, since Docker drops an endpoint from its list a moment before it tells
// the driver. If Docker has never shown the endpoint, it must also be older than
// missingFrom: a younger one may be about to appear.
const (
	missingFor  = 10 * time.Second
	missingFrom = 60 * time.Second
)

// Registry is what weft knows of this host's endpoints.
type Registry interface {
	// Snapshot's Local are this host's endpoints.
	Snapshot() overlay.Snapshot
	// Inventory's Docker are the networks of this host's Docker.
	Inventory() registry.Inventory
	// Changes gives a channel that gets a value after something has changed.
	Changes() (changes <-chan struct{}, stop func())
	// NameEndpoint records by what names the endpoint is found.
	NameEndpoint(ctx context.Context, id string, names []string) error
	DeleteEndpoint(ctx context.Context, id string) error
}

// Docker tells one network's endpoints and containers' names, see engine.Client.
type Docker interface {
	Endpoints(ctx context.Context, dockerID string) (shown map[string]engine.Shown, found bool, err error)
	Names(ctx context.Context, container, endpoint string) ([]string, error)
	NamesBefore(ctx context.Context, container string) (names map[string][]string, err error)
	Disconnect(ctx context.Context, dockerID, container string) error
}

var _ Docker = (*engine.Client)(nil)

// Missed is told the addresses of an endpoint made at made, which Docker has ended
// while weft was away.
type Missed func(ctx context.Context, addrs []netip.Addr, made time.Time) error

// Names works beside the networks' passes: a name must not wait for a store.
type Names struct {
	registry Registry
	docker   Docker
	missed   Missed // may be nil
	log      logrus.FieldLogger
	asked    chan struct{}
	fresh    *fresh

	mu  sync.Mutex
	old map[string]bool // container names that are no more; guarded by mu, as what follows
	// asking are endpoints about whose container Docker is being asked.
	asking map[string]bool
	// early are endpoints whose names were read before their container's start.
	early   map[string]bool
	answers sync.WaitGroup // of Docker, about asking

	// Only Run's:
	missing map[string]time.Time // endpoint id → when it was first seen missing
	unknown map[string]bool      // endpoints some of whose names Docker did not tell last time
	whole   time.Time            // when everything is to be looked at
}

// New makes a Names that does nothing until Run. missed may be nil.
func New(r Registry, d Docker, missed Missed, log logrus.FieldLogger) *Names {
	return &Names{
		registry: r, docker: d, missed: missed, log: log, asked: make(chan struct{}, 1), fresh: newFresh(),
		old: map[string]bool{}, asking: map[string]bool{}, early: map[string]bool{}, missing: map[string]time.Time{}, unknown: map[string]bool{},
	}
}

// Event takes in what has happened to a container, or that one was connected to a
// network. Creation waits for Docker, everything else for nothing.
func (n *Names) Event(ctx context.Context, e engine.Event) {
	if e.Network {
		n.ask()
		return
	}
	switch e.Action {
	case engine.Create:
		n.created(ctx, e.ID, e.Name)
	case engine.Destroy:
		n.fresh.forget(e.ID)
	case engine.Rename:
		n.fresh.forget(e.ID)
		n.renamed(e.OldName)
	case engine.Start:
		n.fresh.forget(e.ID)
		n.ask()
	case engine.Connect, engine.Disconnect: // events of networks
	}
}

// ask asks for a look at endpoints without a name.
func (n *Names) ask() {
	select {
	case n.asked <- struct{}{}:
	default:
	}
}

// created reads the names of a container that was just created. If Docker starts
// it before it answers, they are read after the start.
func (n *Names) created(ctx context.Context, id, name string) {
	if err := n.fresh.add(ctx, n.docker, id, name); err != nil && ctx.Err() == nil {
		n.log.WithField("container", name).WithError(err).Debug("A new container's names could not be read; they are when it has started.")
	}
}

// renamed says that no container has the name any more.
func (n *Names) renamed(old string) {
	n.mu.Lock()
	n.old[old] = true
	n.mu.Unlock()
	n.ask()
}

// Run keeps names right until ctx ends. Docker is asked only about networks
// with an endpoint that lacks names or has an old one; now and then, about all
// networks with endpoints.
func (n *Names) Run(ctx context.Context) error {
	defer n.answers.Wait()
	changes, stop := n.registry.Changes()
	defer stop()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 50*time.Millisecond, 5*time.Second
	for {
		n.look(ctx)
		wait := time.Until(n.whole)
		if len(n.missing) > 0 {
			wait = min(wait, missingFor)
		}
		if len(n.unknown) > 0 {
			wait = min(wait, retry.NextBackOff())
		} else {
			retry.Reset()
		}
		timer := time.NewTimer(wait)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil
			case <-changes:
				waiting = !slices.ContainsFunc(n.registry.Snapshot().Local, func(e overlay.Endpoint) bool {
					return newsworthy(e) && !n.unknown[e.ID]
				})
			case <-n.asked:
				waiting = false
			case <-timer.C:
				waiting = false
			}
		}
		timer.Stop()
	}
}

// nameless says whether e has no name and Docker is expected to know one: Docker
// shows an endpoint from its Join on.
func nameless(e overlay.Endpoint) bool { return e.Name == "" && e.Phase == overlay.Joined }

// newsworthy says whether Docker is to be asked about e at once, or has to
// disconnect it.
func newsworthy(e overlay.Endpoint) bool { return nameless(e) || e.Phase == overlay.Lost }

// partial says whether Docker is expected to know more names for e. When Docker is
// done with the container, it knows at least two.
func partial(e overlay.Endpoint) bool { return len(e.Names) < 2 && e.Phase == overlay.Joined }

// look asks Docker about the networks that need it.
func (n *Names) look(ctx context.Context) {
	now := time.Now()
	all := !now.Before(n.whole)
	if all {
		n.whole = now.Add(engine.LookEvery)
	}
	n.mu.Lock()
	old := n.old
	n.old = map[string]bool{}
	endpoints := map[string][]overlay.Endpoint{} // by weft's network id
	exists := map[string]bool{}
	for _, e := range n.registry.Snapshot().Local {
		endpoints[e.Network] = append(endpoints[e.Network], e)
		exists[e.ID] = true
	}
	maps.DeleteFunc(n.early, func(id string, _ bool) bool { return !exists[id] })
	early := maps.Clone(n.early)
	n.mu.Unlock()

	maps.DeleteFunc(n.missing, func(id string, _ time.Time) bool { return !exists[id] })
	clear(n.unknown)
	for dockerID, known := range n.registry.Inventory().Docker {
		network := known.ID
		wanted := slices.ContainsFunc(endpoints[network], func(e overlay.Endpoint) bool {
			return all || partial(e) || early[e.ID] || old[e.Name] || !n.missing[e.ID].IsZero() || e.Phase == overlay.Lost
		})
		if !wanted {
			continue
		}
		shown, found, err := n.docker.Endpoints(ctx, dockerID)
		if err != nil && ctx.Err() == nil {
			n.log.WithField("id", network).WithError(err).Debug("Containers' names could not be read; it is tried again.")
		}
		for _, e := range endpoints[network] {
			s, ok := shown[e.ID]
			if ok && e.Phase == overlay.Lost {
				n.expel(ctx, dockerID, e, s)
				continue
			}
			if ok {
				delete(n.missing, e.ID)
				n.name(ctx, dockerID, e, s)
				continue
			}
			n.lack(ctx, e, found)
		}
	}
}

// name records the names of an endpoint that Docker shows: at once its container's
// name, with the others if they were read before its start. When Docker answers
// about the container, all names are recorded.
func (n *Names) name(ctx context.Context, dockerID string, e overlay.Endpoint, s engine.Shown) {
	if s.Name == "" {
		if partial(e) {
			n.unknown[e.ID] = true
		}
		return
	}
	n.mu.Lock()
	early := n.early[e.ID]
	n.mu.Unlock()
	if s.Name == e.Name && !partial(e) && !early {
		return
	}
	n.unknown[e.ID] = true // until all of them are there
	id, names := n.fresh.find(s.Name, s.Network, dockerID)
	switch {
	case s.Container == "" && partial(e) && len(names) > 0:
		early = true
		n.record(ctx, e, names)
	case s.Name != e.Name:
		n.record(ctx, e, append([]string{s.Name}, e.Names[min(1, len(e.Names)):]...))
	}
	container := cmp.Or(s.Container, id)
	n.mu.Lock()
	defer n.mu.Unlock()
	if early {
		n.early[e.ID] = true
	}
	if container == "" || n.asking[e.ID] {
		return
	}
	n.asking[e.ID] = true
	n.answers.Go(func() {
		names, err := n.docker.Names(ctx, container, e.ID)
		if err != nil {
			n.log.WithFields(n.fields(e)).WithError(err).Debug("A container's names could not be read; it is tried again.")
		} else {
			n.record(ctx, e, names)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.asking, e.ID)
		if err == nil {
			delete(n.early, e.ID)
		}
	})
}

func (n *Names) record(ctx context.Context, e overlay.Endpoint, names []string) {
	if err := n.registry.NameEndpoint(ctx, e.ID, names); err != nil && ctx.Err() == nil {
		n.log.WithFields(n.fields(e)).WithError(err).Warn("A container's names could not be recorded; it is tried again.")
	}
}

func (n *Names) fields(e overlay.Endpoint) map[string]any {
	return map[string]any{
		"network": n.registry.Snapshot().Networks[e.Network].Name, "id": e.Network,
		"endpoint": e.ID, "container": e.Name, "addrs": e.Addrs,
	}
}

// expel disconnects a container from a network in which another host has its
// address by now.
func (n *Names) expel(ctx context.Context, dockerID string, e overlay.Endpoint, s engine.Shown) {
	log := n.log.WithFields(n.fields(e))
	if err := n.docker.Disconnect(ctx, dockerID, cmp.Or(s.Container, s.Name)); err != nil {
		n.unknown[e.ID] = true
		log.WithError(err).Warn("A container whose address is another host's could not be disconnected; it is tried again.")
		return
	}
	log.Error("A container was disconnected from its network: its address is another host's.")
}

// young says whether Docker may be about to show e for the first time. An endpoint
// with a name was shown, since its name is from there. One that was made in the
// future is not young: the clock was set back.
func young(e overlay.Endpoint) bool {
	age := time.Since(e.Created)
	return e.Name == "" && age >= 0 && age < missingFrom
}

// lack deals with an endpoint that Docker does not show. found says whether Docker
// answered that it has the network.
func (n *Names) lack(ctx context.Context, e overlay.Endpoint, found bool) {
	log := n.log.WithFields(n.fields(e))
	if partial(e) {
		n.unknown[e.ID] = true
	}
	if !found { // the networks' passes deal with that
		return
	}
	// An endpoint that was never joined goes too: its Join would have followed within
	// seconds, so Docker or weft died before it.
	switch since := n.missing[e.ID]; {
	case since.IsZero():
		n.missing[e.ID] = time.Now()
		return
	case time.Since(since) < missingFor || young(e):
		return
	}
	if err := n.registry.DeleteEndpoint(ctx, e.ID); err != nil {
		log.WithError(err).Warn("An endpoint that Docker does not have any more could not be forgotten; it is tried again.")
		return
	}
	log.Warn("An endpoint that Docker does not have any more was forgotten; weft was away when Docker removed it.")
	if n.missed == nil {
		return
	}
	if err := n.missed(ctx, e.Addrs, e.Created); err != nil {
		log.WithError(err).Warn("The addresses of an endpoint that Docker does not have any more could not be freed at once; they are later.")
	}
}
