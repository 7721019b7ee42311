package names

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Bounds of what is remembered of containers that were created and not started.
// Beyond them, a container gets its names after its start.
const (
	freshFor = 10 * time.Minute
	freshMax = 1024
)

// fresh remembers containers, and their names, from their creation until their
// first start is done.
type fresh struct {
	mu  sync.Mutex
	all map[string]freshContainer // by id; guarded by mu
}

type freshContainer struct {
	name  string
	since time.Time
	names map[string][]string // see Docker.NamesBefore; nil: not known yet
}

func newFresh() *fresh { return &fresh{all: map[string]freshContainer{}} }

// add reads the names of a container that was just created.
func (f *fresh) add(ctx context.Context, d Docker, id, name string) error {
	now := time.Now()
	f.mu.Lock()
	maps.DeleteFunc(f.all, func(_ string, c freshContainer) bool { return now.Sub(c.since) > freshFor })
	full := len(f.all) >= freshMax
	if !full {
		f.all[id] = freshContainer{name: name, since: now}
	}
	f.mu.Unlock()
	if full {
		return nil
	}
	names, err := d.NamesBefore(ctx, id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.all[id]; ok {
		c.names = names
		f.all[id] = c
	}
	return nil
}

// forget forgets a container that was started, renamed or removed.
func (f *fresh) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, id)
}

// find gives the id of the fresh container of that name, and all its names in the
// network. The request may have called the network by any of these references. An
// unknown id is "", and unknown names are nil.
func (f *fresh) find(name string, network ...string) (id string, names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, c := range f.all {
		if c.name != name {
			continue
		}
		for _, ref := range network {
			if names := c.names[ref]; len(names) > 0 {
				return id, names
			}
		}
		return id, nil
	}
	return "", nil
}
