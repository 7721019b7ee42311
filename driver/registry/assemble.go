package registry

import (
	"errors"
	"time"

	"github.com/weft-net/weft/driver/registry/endpoints"
	"github.com/weft-net/weft/driver/registry/epoch"
	"github.com/weft-net/weft/driver/registry/networks"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// assemble puts the parts together: what each needs, it is given here.
func assemble(cfg Config, id Identity) *Registry {
	c := &core{
		cluster: cfg.Cluster, state: cfg.State, log: cfg.Log, self: cfg.Self, skipped: cfg.Skipped,
		unsaved: map[string]kvstore.Op{}, flushes: make(chan struct{}, 1),
	}
	if c.skipped == nil {
		c.skipped = &skipped.List{}
	}
	others, rebuild := peers.New(cfg.Self, cfg.Reap), &rebuild{core: c}
	d := &directory{core: c, networks: networks.New(), endpoints: endpoints.New()}
	r := &Registry{
		directory: d, rebuild: rebuild, peers: others, arrivals: cfg.Arrivals, observe: cfg.Observe.filled(),
		epochs:    &epochs{core: c, endpoints: d.endpoints, peers: others, rebuild: rebuild, State: epoch.New(time.Now()), wake: make(chan struct{}, 1)},
		contact:   &contact{core: c, last: Contact{Since: time.Now(), Err: errors.New("not asked yet")}},
		documents: &documents{core: c, networks: d.networks, endpoints: d.endpoints, arrivals: cfg.Arrivals, rebuild: rebuild},
	}
	r.place = &place{core: c, epochs: r.epochs, id: id}
	r.published = &publication{core: c, epochs: r.epochs, place: r.place, observe: r.observe}
	r.claims = &Claims{directory: d, epochs: r.epochs, place: r.place, contact: r.contact, peers: others, rebuild: rebuild}
	r.keyring = &Keyring{
		core: c, epochs: r.epochs, place: r.place, contact: r.contact, claims: r.claims, peers: others, rebuild: rebuild, rotation: newRotation(),
	}
	r.direct = &Direct{core: c, documents: r.documents, contact: r.contact, epochs: r.epochs, keyring: r.keyring, peers: others}
	r.departure = &Departure{core: c, endpoints: d.endpoints, contact: r.contact, rebuild: rebuild, direct: r.direct}
	r.maker = maker{directory: d, claims: r.claims, published: r.published, rebuild: rebuild}
	r.reaper = reaper{core: c, epochs: r.epochs, contact: r.contact, keyring: r.keyring, peers: others, silence: silence{core: c, peers: others}}
	return r
}

// Claims is what this host may claim and what it has claimed: the IPAM side's view.
func (r *Registry) Claims() *Claims { return r.claims }

// Direct is what hosts tell each other directly.
func (r *Registry) Direct() *Direct { return r.direct }

// Keyring is about the cluster's keys.
func (r *Registry) Keyring() *Keyring { return r.keyring }

// Departure is how this host goes.
func (r *Registry) Departure() *Departure { return r.departure }
