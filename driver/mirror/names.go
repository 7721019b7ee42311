package mirror

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

	"github.com/weft-net/weft/driver/overlay"
)

// An endpoint that Docker does not show is forgotten once it was missing for a
// while, as Docker drops an endpoint from its list a moment before it tells the
// driver; and if Docker has never shown it, not before it is old enough not to be
// about to appear.
const (
	missingFor  = 10 * time.Second
	missingFrom = 60 * time.Second
)

// names gives endpoints the names of their containers, and forgets endpoints
// whose end weft has missed. It works beside the networks' passes: a name must
// not wait for a store.
type names struct {
	registry Registry
	docker   inspector
	log      logrus.FieldLogger
	asked    chan struct{}
	fresh    *fresh
	missed   func(ctx context.Context, addrs []netip.Addr, made time.Time) error // see Config; may be nil

	mu  sync.Mutex
	old map[string]bool // container names that are no more; guarded by mu, as what follows
	// asking are endpoints whose container Docker is asked about.
	asking map[string]bool
	// early are endpoints whose names are those from before the container's start.
	early   map[string]bool
	answers sync.WaitGroup // that are waited for

	// Only run's:
	missing map[string]time.Time // endpoint id → when it was first seen missing
	unknown map[string]bool      // endpoints whose names Docker did not tell, or not all, last time
	whole   time.Time            // when everything is to be looked at
}

// inspector asks Docker for one network's endpoints, and for containers' names.
type inspector interface {
	endpoints(ctx context.Context, dockerID string) (shown map[string]sighting, found bool, err error)
	names(ctx context.Context, container, endpoint string) ([]string, error)
	created(ctx context.Context, container string) (names map[string][]string, err error)
	disconnect(ctx context.Context, dockerID, container string) error
}

func newNames(r Registry, d inspector, log logrus.FieldLogger) *names {
	return &names{registry: r, docker: d, log: log, asked: make(chan struct{}, 1), fresh: newFresh(), old: map[string]bool{}, asking: map[string]bool{}, early: map[string]bool{}, missing: map[string]time.Time{}, unknown: map[string]bool{}}
}

// ask asks for a look at endpoints without a name.
func (n *names) ask() {
	select {
	case n.asked <- struct{}{}:
	default:
	}
}

// created reads the names of a container that was just created, if Docker is
// faster with that than with starting it.
func (n *names) created(ctx context.Context, id, name string) {
	if err := n.fresh.add(ctx, n.docker, id, name); err != nil && ctx.Err() == nil {
		n.log.WithField("container", name).WithError(err).Debug("A new container's names could not be read; they are when it has started.")
	}
}

// renamed says that no container has the name any more.
func (n *names) renamed(old string) {
	n.mu.Lock()
	n.old[old] = true
	n.mu.Unlock()
	n.ask()
}

// run keeps names right until ctx ends. Docker is asked only about networks
// with an endpoint that lacks names, or has an old one; now and then, about all
// with endpoints.
func (n *names) run(ctx context.Context) error {
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

// nameless says whether Docker can be expected to know a name for e: it shows
// an endpoint from its Join on.
func nameless(e overlay.Endpoint) bool { return e.Name == "" && e.Phase == overlay.Joined }

// newsworthy says whether Docker is to be asked about e, or told, at once.
func newsworthy(e overlay.Endpoint) bool { return nameless(e) || e.Phase == overlay.Lost }

// partial says whether Docker can be expected to know more names for e: when it
// is done with the container, which may take it seconds, it knows two at least.
func partial(e overlay.Endpoint) bool { return len(e.Names) < 2 && e.Phase == overlay.Joined }

// look asks Docker about the networks that need it.
func (n *names) look(ctx context.Context) {
	now := time.Now()
	all := !now.Before(n.whole)
	if all {
		n.whole = now.Add(look)
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
	for dockerID, held := range n.registry.Inventory().Docker {
		network := held.ID
		wanted := slices.ContainsFunc(endpoints[network], func(e overlay.Endpoint) bool {
			return all || partial(e) || early[e.ID] || old[e.Name] || !n.missing[e.ID].IsZero() || e.Phase == overlay.Lost
		})
		if !wanted {
			continue
		}
		shown, found, err := n.docker.endpoints(ctx, dockerID)
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

// name takes over what Docker shows of an endpoint: at once its container's
// name, with the others if they are known from before its start; and what only
// the container tells when Docker tells it.
func (n *names) name(ctx context.Context, dockerID string, e overlay.Endpoint, s sighting) {
	if s.name == "" {
		if partial(e) {
			n.unknown[e.ID] = true
		}
		return
	}
	n.mu.Lock()
	early := n.early[e.ID]
	n.mu.Unlock()
	if s.name == e.Name && !partial(e) && !early {
		return
	}
	n.unknown[e.ID] = true // until all of them are there
	id, names := n.fresh.find(s.name, s.network, dockerID)
	switch {
	case s.container == "" && partial(e) && len(names) > 0:
		early = true
		n.record(ctx, e, names)
	case s.name != e.Name:
		n.record(ctx, e, append([]string{s.name}, e.Names[min(1, len(e.Names)):]...))
	}
	container := cmp.Or(s.container, id)
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
		names, err := n.docker.names(ctx, container, e.ID)
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

func (n *names) record(ctx context.Context, e overlay.Endpoint, names []string) {
	if err := n.registry.NameEndpoint(ctx, e.ID, names); err != nil && ctx.Err() == nil {
		n.log.WithFields(n.fields(e)).WithError(err).Warn("A container's names could not be recorded; it is tried again.")
	}
}

func (n *names) fields(e overlay.Endpoint) map[string]any {
	return map[string]any{
		"network": n.registry.Snapshot().Networks[e.Network].Name, "id": e.Network,
		"endpoint": e.ID, "container": e.Name, "addrs": e.Addrs,
	}
}

// expel takes a container out of a network in which its address is another
// host's by now.
func (n *names) expel(ctx context.Context, dockerID string, e overlay.Endpoint, s sighting) {
	log := n.log.WithFields(n.fields(e))
	if err := n.docker.disconnect(ctx, dockerID, cmp.Or(s.container, s.name)); err != nil {
		n.unknown[e.ID] = true
		log.WithError(err).Warn("A container whose address is another host's could not be disconnected; it is tried again.")
		return
	}
	log.Error("A container was disconnected from its network: its address is another host's.")
}

// young says whether e may be about to appear, which one with a name has done: its
// name is from there. An endpoint made in the future is older than a clock that was
// set back.
func young(e overlay.Endpoint) bool {
	age := time.Since(e.Created)
	return e.Name == "" && age >= 0 && age < missingFrom
}

// lack deals with an endpoint that Docker does not show. found says whether it
// has the network and said so.
func (n *names) lack(ctx context.Context, e overlay.Endpoint, found bool) {
	log := n.log.WithFields(n.fields(e))
	if partial(e) {
		n.unknown[e.ID] = true
	}
	if !found { // the networks' passes deal with that
		return
	}
	// One that was never joined goes too: Docker, or weft, died before the Join,
	// which otherwise follows within seconds.
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
