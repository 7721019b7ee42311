package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// disks are copies of hosts' states, by host: each is of the last time that its disk
// was set back.
type disks struct {
	mu   sync.Mutex
	last map[string][]byte
}

// turn keeps the new copy, and gives the one before; nil: there is none.
func (d *disks) turn(host string, now []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		d.last = map[string][]byte{}
	}
	before := d.last[host]
	d.last[host] = now
	return before
}

func stateOf(h *lab.Host) string { return filepath.Join(h.Dir(), "weft", "state.db") }

// setBack sets weft's part of the disk back to what it was the last time that this
// was drawn for the host; the first time only that is kept.
func (r *runner) setBack(ctx context.Context, o op) (undo func() error, err error) {
	h := r.Lab.Host(o.host)
	if err := r.settled(ctx, o.host); err != nil {
		return nil, err
	}
	undo = func() error {
		if err := h.Start(ctx, lab.Weft); err != nil {
			return err
		}
		return r.settled(ctx, o.host) // before the store may have a fault
	}
	if err := h.Kill(ctx, lab.Weft); err != nil {
		return undo, err
	}
	now, err := os.ReadFile(stateOf(h))
	if err != nil {
		return undo, err
	}
	before := r.disks.turn(o.host, now)
	if before == nil {
		r.history.note(time.Now(), "%s has no earlier copy of its disk", o.host)
		return undo, nil
	}
	return undo, os.WriteFile(stateOf(h), before, 0o600)
}

// frozen copies the host's state as a snapshot of its machine would have it.
func frozen(h *lab.Host) (text []byte, err error) {
	if h.Running(lab.Weft) {
		if err := h.Signal(lab.Weft, unix.SIGSTOP); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, h.Signal(lab.Weft, unix.SIGCONT)) }()
	}
	return os.ReadFile(stateOf(h))
}

// settled waits until the host's weft reaches the store, has its place there and
// holds its lease.
func (r *runner) settled(ctx context.Context, host string) error {
	var why error
	for end := time.Now().Add(healTime); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		if why = r.holdsPlace(ctx, host); why == nil {
			return nil
		}
	}
	return fmt.Errorf("%s is not settled within %s: %w", host, healTime, why)
}

func (r *runner) holdsPlace(ctx context.Context, host string) error {
	c, err := r.leading(ctx)
	if err != nil {
		return err
	}
	s, err := r.cluster.Control(host).Status(ctx)
	if err != nil {
		return err
	}
	if !s.Store.Reachable {
		return errors.New("it does not reach the store")
	}
	text, err := c.Request(ctx, http.MethodGet, "/v1/kv/weft/host/"+host+"/?recurse&consistent", nil)
	if err != nil {
		return err
	}
	var pairs []struct {
		Key, Session string
		Value        []byte
	}
	if err := json.Unmarshal(text, &pairs); err != nil {
		return err
	}
	var owner struct{ Run string }
	var holder string
	for _, p := range pairs {
		switch filepath.Base(p.Key) {
		case "owner":
			err = json.Unmarshal(p.Value, &owner)
		case "live":
			if p.Session != "" {
				holder = string(p.Value)
			}
		}
	}
	if err == nil && (owner.Run == "" || owner.Run != holder) {
		err = fmt.Errorf("its place is of %.8q and its lease of %.8q", owner.Run, holder)
	}
	return err
}
