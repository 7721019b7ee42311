package mirror

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/mirror/names"
	"github.com/weft-net/weft/driver/mirror/restart"
	"github.com/weft-net/weft/driver/mirror/takeover"
	"github.com/weft-net/weft/driver/overlay"
)

// session is one connection to Docker, from subscribing to its events until
// they break off. The next session starts without what this one remembers.
type session struct {
	*Mirror
	maker  maker   // Docker
	up     func()  // is called when Docker answers
	ledger *ledger // of the networks' passes

	asked chan struct{} // networks are to be looked at
	news  atomic.Bool   // Docker's networks have changed since the last pass

	names *names.Names
	group *errgroup.Group // of all that the session does
}

// maker makes and removes Docker's networks.
type maker interface {
	Networks(ctx context.Context) ([]engine.Network, error)
	Running(ctx context.Context) ([]engine.Endpoint, error)
	Create(ctx context.Context, driver, ipam string, n overlay.Network) (dockerID string, err error)
	Endpoints(ctx context.Context, dockerID string) (map[string]engine.Shown, bool, error)
	Remove(ctx context.Context, dockerID string) error
}

// session mirrors until Docker's API fails, and says why it did. up is called
// once Docker answers.
func (m *Mirror) session(ctx context.Context, up func()) error {
	d, err := engine.Dial(ctx, m.cfg.Host)
	if err != nil {
		return err
	}
	defer d.Close()
	m.mu.Lock()
	m.api = d.Version()
	m.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	s := &session{
		Mirror: m, maker: d, up: up, ledger: newLedger(), asked: make(chan struct{}, 1),
		names: names.New(m.cfg.Registry, d, m.cfg.Missed, m.cfg.Log), group: g,
	}
	s.news.Store(true) // whatever happened before

	// First subscribe, then look: so nothing is missed in between.
	events, err := d.Subscribe(ctx)
	if err != nil {
		return err
	}
	g.Go(func() error { return s.listen(ctx, events) })
	g.Go(func() error { return s.networks(ctx) })
	g.Go(func() error { return s.names.Run(ctx) })
	g.Go(func() error {
		return takeover.Run(ctx, takeover.Config{Registry: m.cfg.Registry, Docker: d, Driver: m.cfg.Driver, Log: m.cfg.Log})
	})
	g.Go(func() error { return restart.Run(ctx, d, m.cfg.Driver, m.cfg.Log) })
	return g.Wait()
}

// listen turns Docker's events into requests to look.
func (s *session) listen(ctx context.Context, events *engine.Subscription) error {
	for {
		e, err := events.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		s.event(ctx, e)
	}
}

func (s *session) event(ctx context.Context, e engine.Event) {
	switch {
	case e.Network && e.Action != engine.Connect:
		s.news.Store(true)
		s.ask()
	case e.Action == engine.Create: // of a container: Docker is asked about it
		s.group.Go(func() error {
			s.names.Event(ctx, e)
			return nil
		})
	default:
		s.names.Event(ctx, e)
	}
}

func (s *session) ask() {
	select {
	case s.asked <- struct{}{}:
	default: // a pass was asked for already, and has not begun
	}
}
