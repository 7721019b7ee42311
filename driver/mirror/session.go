package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/events"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/overlay"
)

// look is how often everything is compared without having been asked.
const look = 60 * time.Second

// session is one connection to Docker, from subscribing to its events until
// they break off. What it remembers it sees anew in the next one.
type session struct {
	*Mirror
	docker *docker
	maker  maker   // docker, as the networks' passes use it
	up     func()  // Docker answers
	ledger *ledger // of the networks' passes

	asked chan struct{} // networks are to be looked at
	news  atomic.Bool   // Docker's networks have changed since the last pass

	names *names
	group *errgroup.Group // of all that the session does
}

// maker makes and removes Docker's networks.
type maker interface {
	networks(ctx context.Context) ([]dockerNetwork, error)
	running(ctx context.Context) ([]found, error)
	create(ctx context.Context, driver, ipam string, n overlay.Network) (dockerID string, err error)
	endpoints(ctx context.Context, dockerID string) (map[string]sighting, bool, error)
	remove(ctx context.Context, dockerID string) error
}

// session mirrors until Docker's API fails, and says why it did. up is called
// once Docker answers.
func (m *Mirror) session(ctx context.Context, up func()) error {
	d, err := dial(ctx, m.cfg.Host)
	if err != nil {
		return err
	}
	defer d.close()
	m.mu.Lock()
	m.api = d.api.ClientVersion()
	m.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	s := &session{
		Mirror: m, docker: d, maker: d, up: up, ledger: newLedger(), asked: make(chan struct{}, 1),
		names: newNames(m.cfg.Registry, d, m.cfg.Log), group: g,
	}
	s.names.missed = m.cfg.Missed
	s.news.Store(true) // of all that happened before

	// First subscribe, then look: so nothing is missed in between.
	messages, failed := d.events(ctx)
	select {
	case err := <-failed:
		return fmt.Errorf("subscribe to Docker's events: %w", err)
	default:
	}
	g.Go(func() error { return s.listen(ctx, messages, failed) })
	g.Go(func() error { return s.networks(ctx) })
	g.Go(func() error { return s.names.run(ctx) })
	g.Go(func() error { return s.takeOver(ctx) })
	g.Go(func() error { return s.restart(ctx) })
	return g.Wait()
}

// listen turns Docker's events into requests to look.
func (s *session) listen(ctx context.Context, messages <-chan events.Message, failed <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the connection was closed")
			}
			return fmt.Errorf("follow Docker's events: %w", err)
		case m := <-messages:
			s.event(ctx, m)
		}
	}
}

func (s *session) event(ctx context.Context, m events.Message) {
	switch {
	case m.Type == events.NetworkEventType:
		if m.Action == events.ActionConnect {
			s.names.ask()
			return
		}
		s.news.Store(true)
		s.ask()
	case m.Action == events.ActionCreate:
		s.group.Go(func() error {
			s.names.created(ctx, m.Actor.ID, m.Actor.Attributes["name"])
			return nil
		})
	case m.Action == events.ActionDestroy:
		s.names.fresh.forget(m.Actor.ID)
	case m.Action == events.ActionRename:
		s.names.fresh.forget(m.Actor.ID)
		s.names.renamed(strings.TrimPrefix(m.Actor.Attributes["oldName"], "/"))
	case m.Action == events.ActionStart:
		s.names.fresh.forget(m.Actor.ID)
		s.names.ask()
	}
}

func (s *session) ask() {
	select {
	case s.asked <- struct{}{}:
	default: // a pass that has not begun is on its way
	}
}
