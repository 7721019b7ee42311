package push

import (
	"cmp"
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// # Which messages are of this time
//
// What a host says can be recorded, and said again to a host that was started anew
// since: it does not know any more which numbers it has heard. So each process has a
// name, drawn at random, and another host's process is believed nothing before it has
// introduced itself: by a beat that names the process which hears it. From that beat's
// number on its messages were made in the time of both. A process that is heard and
// has not introduced itself is asked to, and so are all hosts at the start.
//
// A weft of before this names no process and introduces itself to nobody. It is taken
// at its word, unless the host's present process, or a later one, is known to
// introduce itself.

// introduceEvery is how often at most a host is asked to introduce itself.
const introduceEvery = 200 * time.Millisecond

// acquaintance is the process of another host that is believed; zero: none is.
type acquaintance struct {
	process string // empty: it introduces itself to nobody
	since   uint64 // number of the first beat that counted
}

// fresh says whether a message of the host can only have been made in the time of the
// process with the name self.
func (a acquaintance) fresh(m message, self string) bool {
	switch {
	case m.Process != "" && m.Kind == beat && m.To == self:
		return true // an introduction
	case m.Process != "":
		return m.Process == a.process && m.Number >= a.since
	case m.Kind == beat:
		return a.process == "" || m.Number>>32 > a.since>>32
	default:
		return a.process == "" && a.since > 0
	}
}

// after is what is believed after a beat that counted.
func (a acquaintance) after(m message) acquaintance {
	if a.since > 0 && a.process == m.Process {
		return a
	}
	return acquaintance{process: m.Process, since: m.Number}
}

// circle is whom this process believes, and what it is about to say to one host alone.
type circle struct {
	self string // this process' name

	mu    sync.Mutex // guards what follows
	hosts map[string]heard
	due   chan struct{} // somebody is to be told something
}

// heard is what there is of a host that was heard.
type heard struct {
	acquaintance
	asked time.Time // when it was to be asked last to introduce itself
	told  words
}

// words are what a host is to be told by a beat of its own.
type words struct {
	to  string // introduces this process to that one
	ask bool   // asks it to introduce itself
}

func newCircle() *circle {
	return &circle{self: rand.Text()[:13], hosts: map[string]heard{}, due: make(chan struct{}, 1)}
}

// admits says whether a message counts. Who asks for it, or has not introduced itself,
// is to be answered.
func (c *circle) admits(m message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[m.Host]
	fresh := h.fresh(m, c.self)
	if m.Ask && m.Process != "" {
		h.told.to = m.Process
	}
	if now := time.Now(); !fresh && m.Process != "" && now.Sub(h.asked) >= introduceEvery {
		h.told.ask, h.asked = true, now
	}
	c.hosts[m.Host] = h
	if h.told != (words{}) {
		select {
		case c.due <- struct{}{}:
		default:
		}
	}
	return fresh
}

// meet notes a beat that has counted.
func (c *circle) meet(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[m.Host]
	h.acquaintance = h.after(m)
	c.hosts[m.Host] = h
}

// owed gives what hosts are to be told, for this once.
func (c *circle) owed() map[string]words {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]words{}
	for name, h := range c.hosts {
		if h.told != (words{}) {
			out[name], h.told = h.told, words{}
			c.hosts[name] = h
		}
	}
	return out
}

// keep forgets all but these hosts, sorted by name.
func (c *circle) keep(hosts []overlay.Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.hosts) <= len(hosts) {
		return
	}
	maps.DeleteFunc(c.hosts, func(name string, _ heard) bool {
		_, there := slices.BinarySearchFunc(hosts, name, func(h overlay.Host, name string) int { return cmp.Compare(h.Name, name) })
		return !there
	})
}
