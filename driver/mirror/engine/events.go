package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// Action is what has happened to a network or a container.
type Action string

// The actions that a Subscription tells.
const (
	Create     = Action(events.ActionCreate)     // of networks and containers
	Destroy    = Action(events.ActionDestroy)    // of networks and containers
	Connect    = Action(events.ActionConnect)    // of networks
	Disconnect = Action(events.ActionDisconnect) // of networks
	Start      = Action(events.ActionStart)      // of containers
	Rename     = Action(events.ActionRename)     // of containers
)

// Event tells what has happened.
type Event struct {
	Network bool // it is a network's event; else a container's
	Action  Action
	ID      string // Docker's, of the network or the container
	Name    string // of the container; after Rename the new one
	OldName string // of the container, with Rename
}

// Subscription gives events in their order.
type Subscription struct {
	messages <-chan events.Message
	failed   <-chan error
}

// Subscribe asks Docker for events until ctx ends. Docker's answer is there
// when Subscribe returns, so no event after that is missed.
func (d *Client) Subscribe(ctx context.Context) (*Subscription, error) {
	messages, failed := d.api.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.NetworkEventType)),
		filters.Arg("type", string(events.ContainerEventType)),
		filters.Arg("event", string(Create)),
		filters.Arg("event", string(Destroy)),
		filters.Arg("event", string(Connect)),
		filters.Arg("event", string(Disconnect)),
		filters.Arg("event", string(Start)),
		filters.Arg("event", string(Rename)),
	)})
	select {
	case err := <-failed:
		return nil, fmt.Errorf("subscribe to Docker's events: %w", err)
	default:
		return &Subscription{messages, failed}, nil
	}
}

// Next waits for an event. It fails when the subscription or ctx has ended.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	select {
	case <-ctx.Done():
		return Event{}, ctx.Err()
	case err := <-s.failed:
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the connection was closed")
		}
		return Event{}, fmt.Errorf("follow Docker's events: %w", err)
	case m := <-s.messages:
		return Event{
			Network: m.Type == events.NetworkEventType, Action: Action(m.Action), ID: m.Actor.ID,
			Name: m.Actor.Attributes["name"], OldName: strings.TrimPrefix(m.Actor.Attributes["oldName"], "/"),
		}, nil
	}
}
