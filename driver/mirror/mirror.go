package mirror

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/mirror/names"
	"github.com/weft-net/weft/driver/mirror/takeover"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// Registry is what weft knows, as far as mirroring needs it.
type Registry interface {
	names.Registry    // containers' names
	takeover.Registry // what was lost

	// Mirroring says that Docker is being asked to create the network, until done.
	Mirroring(id string) (done func())
	// Name publishes what only Docker knows; a *registry.NameTakenError says
	// that another network has the name.
	Name(ctx context.Context, id string, naming registry.Naming) error
	// Attach records that the Docker network is weft's network id.
	Attach(ctx context.Context, dockerID, id string) error
	// Detach records that Docker has lost its network.
	Detach(ctx context.Context, dockerID string) error

	// Remake records a network that nobody has a record of. If it has no id, it gets a
	// new one. The error is registry.ErrFrozen if it is too early for that.
	Remake(ctx context.Context, n overlay.Network) error
}

var _ Registry = (*registry.Registry)(nil)

// Config is what a Mirror is made from.
type Config struct {
	Registry Registry
	Host     string // of Docker's API, like unix:///run/docker.sock
	Driver   string // by which Docker knows weft, like weft or weft:latest
	IPAM     string // the IPAM driver's name, usually the same
	// Options fills a network's record from the options that Docker shows of it.
	Options func(options map[string]string) (overlay.Network, error)
	// Keep is told in every pass the subnets of those of Docker's networks that have
	// weft's IPAM driver, whatever their network driver is; may be nil.
	Keep   func(ctx context.Context, subnets []netip.Prefix) error
	Missed names.Missed // may be nil
	Log    logrus.FieldLogger
}

// Mirror keeps Docker and the cluster's networks the same.
type Mirror struct {
	cfg Config

	mu        sync.Mutex
	connected bool                // guarded by mu, as what follows
	since     time.Time           // when connected last changed
	reason    error               // why it is not connected
	api       string              // version of Docker's API, when last connected
	conflicts map[string]Conflict // see Status
}

// Status tells how mirroring is doing.
type Status struct {
	Connected bool
	Since     time.Time           // when Connected became so; zero: not tried yet
	Error     string              // why it is not connected
	API       string              // version in which it was last connected to Docker's API
	Conflicts map[string]Conflict // by the network's name, or id if it has none
}

// Conflict says why a network is not the same on all hosts.
type Conflict struct {
	ID   string // weft's, of the network; "" if it is not known
	Text string // one sentence: what is in the way, and what to do

	grave bool // it contradicts what a person was told
}

// New makes a Mirror that does nothing until Run.
func New(cfg Config) *Mirror { return &Mirror{cfg: cfg} }

// Status is a copy of how mirroring is doing.
func (m *Mirror) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{Connected: m.connected, Since: m.since, API: m.api, Conflicts: maps.Clone(m.conflicts)}
	if m.reason != nil {
		s.Error = m.reason.Error()
	}
	return s
}

// Run mirrors until ctx ends. Whatever Docker does, it goes on trying.
func (m *Mirror) Run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 20*time.Millisecond, 1500*time.Millisecond
	for {
		err := m.session(ctx, func() {
			retry.Reset()
			m.note(nil)
		})
		if ctx.Err() != nil {
			return nil
		}
		m.note(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry.NextBackOff()):
		}
	}
}

// note keeps whether Docker answers, and logs when that changes.
func (m *Mirror) note(err error) {
	m.mu.Lock()
	first, changed := m.since.IsZero(), m.connected != (err == nil)
	m.connected, m.reason = err == nil, err
	if first || changed {
		m.since = time.Now()
	}
	m.mu.Unlock()
	log := m.cfg.Log.WithField("docker", m.cfg.Host)
	switch {
	case err == nil && changed:
		log.Info("Docker's API answers; networks are mirrored.")
	case err != nil && changed:
		log.WithError(err).Warn("Docker's API does not answer any more, so networks are not mirrored; it is tried again until it does.")
	case err != nil && first: // weft is up before Docker is
		log.WithError(err).Info("Docker's API does not answer yet; it is tried until it does.")
	}
}

// setConflicts replaces the conflicts, and logs the new ones.
func (m *Mirror) setConflicts(now map[string]Conflict) {
	m.mu.Lock()
	before := m.conflicts
	m.conflicts = now
	m.mu.Unlock()
	for network, c := range now {
		say := m.cfg.Log.WithFields(logrus.Fields{"network": network, "id": c.ID})
		switch {
		case before[network] == c:
		case c.grave:
			say.Error(c.Text)
		default:
			say.Warn(c.Text)
		}
	}
	for network := range before {
		if _, still := now[network]; !still {
			m.cfg.Log.WithField("network", network).Info("The conflict about this network is over.")
		}
	}
}
